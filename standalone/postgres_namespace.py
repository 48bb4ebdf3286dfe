"""Lets Postgres reach files that lie below folders closed to it, without opening those folders.

Postgres refuses to run as root, and its own user cannot enter root's private folders (0700), where the
programs and the data may lie. Started by root, this program makes a private view of the file system in which
the given folders appear below `/mnt`, and becomes the command.  Outside nothing changes: no mode, no owner,
no mount.  Mounts that Postgres does not need are let go, because a view that still held them would keep other
people's volumes and containers busy.

Run by path, with the standard library only: `python -I -S postgres_namespace.py [FOLDER NAME]… -- COMMAND…`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

MOUNT_POINT = "/mnt"
NOT_PERMITTED = 77  # exit status: the kernel refuses private views here

CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MNT_DETACH = 2

# What a program needs from the rest of the system: libraries, the user's name, time zones, devices.
NEEDED = ("/", "/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev", "/dev/shm")


def main(arguments: list[str]) -> None:
    """Make the view, then become the command."""
    split = arguments.index("--")
    folders, command = arguments[:split], arguments[split + 1 :]
    shown = {
        f"{MOUNT_POINT}/{name}": folder for folder, name in zip(folders[::2], folders[1::2], strict=True)
    }
    try:
        _leave_shared_view()
        _show(shown)
        _let_go_of_the_rest({*NEEDED, MOUNT_POINT, *shown})
    except OSError as error:
        sys.stderr.write(f"A private view of the file system cannot be made: {error}\n")
        sys.exit(NOT_PERMITTED)
    os.chdir("/")
    os.execv(command[0], command)


def _leave_shared_view() -> None:
    libc = _libc()
    _check(libc.unshare(CLONE_NEWNS), "unshare")
    # Not private but slave: what is unmounted outside later must disappear here too.
    _check(libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None), "/")


def _show(shown: dict[str, str]) -> None:
    # Opened first: the folders themselves may lie below the mount point that is covered now.
    opened = {target: os.open(folder, os.O_PATH | os.O_DIRECTORY) for target, folder in shown.items()}
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(
        _libc().mount(b"lattice", MOUNT_POINT.encode(), b"tmpfs", flags, b"mode=0755,size=64k"), MOUNT_POINT
    )
    before = os.umask(0o022)
    for target, descriptor in opened.items():
        Path(target).mkdir(parents=True)
        bound = f"/proc/self/fd/{descriptor}".encode()
        _check(_libc().mount(bound, target.encode(), None, MS_BIND, None), shown[target])
    os.umask(before)


def _let_go_of_the_rest(kept: set[str]) -> None:
    for point in reversed(_mount_points()):
        if point not in kept:
            _libc().umount2(point.encode(), MNT_DETACH)  # one that cannot be let go does no harm


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main(sys.argv[1:])
