"""One tar file with the contents of several packages: the layer of an image.

Files go from archive to archive without touching the disk, so owners and modes are exact without root, and
the same packages always give the same bytes. Documentation, translations and service units stay out, and
everything is put where a merged /usr has it.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.images.archives import Archive
from infra.setup.commands import SetupError

_MERGED = re.compile(r"^(bin|sbin|lib|lib32|lib64|libx32)(?=/|$)")
_LEFT_OUT = re.compile(
    r"^(usr/share/doc/(?!.*/copyright$)|usr/share/(man|locale|info|lintian|bash-completion|bug|help)(/|$)"
    r"|usr/lib/systemd(/|$)|etc/(init\.d|logrotate\.d|cron\.[a-z]+|default|ufw)(/|$)"
    # Without LLVM in the image its JIT module could not be loaded; postgres then goes on without it.
    r"|usr/lib/postgresql/\d+/lib/(bitcode(/|$)|llvmjit))"
)


@dataclass(frozen=True)
class Entry:
    """A file, link or folder that is added to the packages' own."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    content: bytes | None = None
    link: str | None = None


def place(name: str) -> str | None:
    """Where a package's file stands in the layer; None when it is left out."""
    path = name.removeprefix("./").rstrip("/")
    merged = _MERGED.sub(r"usr/\1", path)
    return None if not merged or merged == "." or _LEFT_OUT.match(merged) else merged


def write_layer(target: Path, archives: Sequence[Archive], entries: Iterable[Entry]) -> None:
    """Write the files of all archives and then the entries (which win) to the tar file `target`."""
    folders: set[str] = set()
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as out:
        for archive in archives:
            _copy(archive.path, out, folders)
        for entry in entries:
            _add(entry, out)


def _copy(deb: Path, out: tarfile.TarFile, folders: set[str]) -> None:
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as source,
    ):
        for member in source:
            _copy_member(member, source, out, folders)
    if unpacking.returncode:
        deb.unlink()
        raise SetupError(f"The package archive {deb} was damaged and is removed; run the set-up again.")


def _copy_member(
    member: tarfile.TarInfo, source: tarfile.TarFile, out: tarfile.TarFile, folders: set[str]
) -> None:
    path = place(member.name)
    if path is None or path in folders:
        return
    member.name = path
    if member.isdir():
        folders.add(path)
    if member.islnk():
        member.linkname = place(member.linkname) or member.linkname
    out.addfile(member, source.extractfile(member) if member.isreg() else None)


def _add(entry: Entry, out: tarfile.TarFile) -> None:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
    if entry.link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.content)
    out.addfile(member, io.BytesIO(entry.content or b""))
