"""How images are put together: which packages, which files, under which name, and which image is taken."""

from __future__ import annotations

import tarfile
from pathlib import Path
from string import Template

import pytest
import yaml

from infra.images.accounts import account_entries
from infra.images.archives import Package, parse_simulation
from infra.images.ensure import Ensured, Source, find_present
from infra.images.layer import Entry, place, write_layer
from infra.images.recipes import POSTGRES, TEMPLATES, Recipe, User

_CATALOGUE = Path(__file__).resolve().parents[2] / "services" / "registry" / "catalogue"


@pytest.mark.parametrize(
    ("version", "upstream"),
    [("15.20-0+deb12u1", "15.20"), ("5:7.0.15-1~deb12u10", "7.0.15"), ("1.24.0+dfsg1-2ubuntu7", "1.24.0")],
)
def test_a_tag_is_the_programs_own_version(version: str, upstream: str) -> None:
    assert Package("any", version, "amd64").upstream_version == upstream


def test_an_archive_is_called_as_apt_calls_it() -> None:
    assert Package("redis-server", "5:7.0.15-1", "amd64").file_name == "redis-server_5%3a7.0.15-1_amd64.deb"


def test_packages_that_only_scripts_need_stay_out() -> None:
    simulation = (
        "NOTE: This is only a simulation!\n"
        "Inst libc6 (2.36-9 Debian:12/stable [amd64])\n"
        "Inst perl-base (5.36 Debian:12/stable, Debian-Security:12/stable [amd64])\n"
        "Inst libllvm14 (1:14 Debian:12/stable [amd64]) []\n"
        "Inst tzdata (2025b Debian:12/stable [all]) [libc6:amd64 ]\n"
        "Conf libc6 (2.36-9 Debian:12/stable [amd64])\n"
    )
    assert parse_simulation(simulation) == (
        Package("libc6", "2.36-9", "amd64"),
        Package("tzdata", "2025b", "all"),
    )


@pytest.mark.parametrize(
    ("packaged", "placed"),
    [
        ("./bin/bash", "usr/bin/bash"),
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./lib64/", "usr/lib64"),
        ("./library/kept", "library/kept"),
        ("./usr/share/doc/bash/copyright", "usr/share/doc/bash/copyright"),
        ("./usr/share/doc/bash/README", None),
        ("./lib/systemd/system/nginx.service", None),
        ("./usr/lib/postgresql/15/lib/llvmjit.so", None),
        ("./etc/init.d/nginx", None),
        ("./", None),
    ],
)
def test_files_go_where_a_merged_usr_has_them(packaged: str, placed: str | None) -> None:
    assert place(packaged) == placed


def test_a_layer_has_exact_owners_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    entries = [
        Entry("data", mode=0o700, uid=999, gid=999),
        Entry("bin", link="usr/bin"),
        Entry("etc/motd", mode=0o644, content=b"hello\n"),
    ]
    for name in ("one.tar", "two.tar"):
        write_layer(tmp_path / name, [], entries)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as layer:
        data, link, motd = layer.getmembers()
        assert (data.isdir(), data.mode, data.uid, data.gid) == (True, 0o700, 999, 999)
        assert (link.issym(), link.linkname) == (True, "usr/bin")
        content = layer.extractfile(motd)
        assert content is not None and content.read() == b"hello\n"


def test_accounts_hold_root_the_images_users_and_nobody() -> None:
    passwd, group = account_entries([User("redis", 999, "/data")])
    assert (passwd.content or b"").decode().splitlines() == [
        "root:x:0:0::/root:/bin/sh",
        "redis:x:999:999::/data:/bin/sh",
        "nobody:x:65534:65534::/nonexistent:/bin/sh",
    ]
    assert b"redis:x:999:\n" in (group.content or b"")


def test_an_official_image_that_is_here_is_taken_before_a_built_one() -> None:
    built = {"lattice.local/postgres:15.20": "now"}
    found = find_present(POSTGRES, names=frozenset({"postgres:16"}), built=built, wanted="now")
    assert found == Ensured("postgres:16", Source.PRESENT)


@pytest.mark.parametrize(
    ("built", "found"),
    [
        ({"lattice.local/postgres:15.20": "now"}, "lattice.local/postgres:15.20"),
        ({"lattice.local/postgres:15.20": "an older recipe"}, None),
        ({"lattice.local/postgres-other:15.20": "now"}, None),
        ({}, None),
    ],
)
def test_a_built_image_counts_as_long_as_its_recipe_is_the_same(
    built: dict[str, str], found: str | None
) -> None:
    present = find_present(POSTGRES, names=frozenset(), built=built, wanted="now")
    assert (present.image if present else None) == found


@pytest.mark.parametrize("recipe", TEMPLATES, ids=lambda recipe: recipe.name)
def test_recipes_and_the_catalogue_name_the_same_images(recipe: Recipe) -> None:
    template = yaml.safe_load((_CATALOGUE / f"{recipe.name}.yaml").read_text())
    version = template["values"]["properties"]["version"]["default"]
    image = Template(template["image"].replace("values.version", "version")).substitute(version=version)
    assert (image, template["local_image"]) == (recipe.official[0], recipe.repository)
