"""The distribution's package archives that a program and its libraries need.

apt works out the closure of dependencies as if nothing were installed, so the answer does not depend on this
machine. Archives are kept in a cache folder; apt checks their signatures' hashes when it fetches them.
Nothing here needs root.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.setup.commands import CommandFailed, SetupError, as_root, find_program, run

# Packages that are needed by maintainer scripts only, which an image made of unpacked files never runs.
# Leaving them out halves the download of postgres (perl and the JIT's LLVM alone are 60 MB).
_SCRIPTS_ONLY = re.compile(
    r"adduser|passwd|perl.*|libperl.*|lib.*-perl|libgdbm.*|usrmerge|dpkg|tar|debconf.*|cdebconf|ucf|sensible-utils"
    r"|sysvinit-utils|libpam-modules.*|libpam-runtime|libsemanage.*|libsepol.*|lsb-base|init-system-helpers"
    r"|ssl-cert|postgresql(-client)?-common|systemd.*|udev|gcc-\d+-base|debianutils|logrotate|cron.*|mount"
    r"|util-linux-extra|iproute2|readline-common|media-types|mailcap|libllvm.*|libz3-\d+|netbase|openssl|locales|libc-l10n"
)
_INST = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<architecture>\S+)\]\)")


@dataclass(frozen=True)
class Package:
    """A package at the version that apt would install."""

    name: str
    version: str
    architecture: str

    @property
    def file_name(self) -> str:
        """How apt calls its archive."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def upstream_version(self) -> str:
        """The program's own version: without epoch, distribution revision and repack marks."""
        return re.split(r"[-+~]", self.version.split(":", 1)[-1])[0]


@dataclass(frozen=True)
class Archive:
    """A package and the file that holds it."""

    package: Package
    path: Path


def parse_simulation(text: str) -> tuple[Package, ...]:
    """The packages named by `apt-get --simulate install`, in its order, without what only scripts need."""
    found = (_INST.match(line) for line in text.splitlines())
    packages = (Package(**match.groupdict()) for match in found if match)
    return tuple(package for package in packages if not _SCRIPTS_ONLY.fullmatch(package.name))


@functools.cache  # apt needs a second for each answer, and the base is asked for by every image
def fetch_archives(names: tuple[str, ...], cache: Path) -> tuple[Archive, ...]:
    """The archives of these packages and of all they need, fetched into `cache` where missing."""
    if find_program("apt-get") is None or find_program("dpkg-deb") is None:
        raise SetupError(
            "Images can be built from packages on Debian and Ubuntu only. Let this machine reach a registry,"
            " or load the official images with `docker load`."
        )
    cache.mkdir(parents=True, exist_ok=True)
    try:
        return _fetch(names, cache)
    except CommandFailed:
        # Either there is no package index yet or it names versions that the mirror has replaced since.
        run(as_root(["apt-get", "update", "-q"]))
        return _fetch(names, cache)


def _fetch(names: Sequence[str], cache: Path) -> tuple[Archive, ...]:
    simulation = run(["apt-get", *_apt_options(cache), "--simulate", "install", *names])
    archives = tuple(Archive(p, cache / p.file_name) for p in parse_simulation(simulation))
    absent = [f"{a.package.name}={a.package.version}" for a in archives if not a.path.exists()]
    if absent:
        run(["apt-get", *_apt_options(cache), "download", *absent], cwd=cache)
    return archives


def _apt_options(cache: Path) -> list[str]:
    nothing_installed = cache / "status"
    if not nothing_installed.exists():  # a newer time stamp would make apt parse everything anew
        nothing_installed.touch()
    options = {
        "Dir::State::status": str(nothing_installed),
        # Kept parsed index: without one every simulation takes 0.4 s longer.
        "Dir::Cache::pkgcache": str(cache / "pkgcache.bin"),
        "Dir::Cache::srcpkgcache": str(cache / "srcpkgcache.bin"),
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
