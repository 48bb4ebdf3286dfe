"""Which platform is meant, and that the wrong one never is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.context import ContextBook, Endpoint, choose, clean_url, load_book, local_platform, save_book
from cli.errors import CliError
from cli.settings import Environment, environment_from

HOME = Path("/home/ada")
WORK = Endpoint("https://work:8443", token="work-token", ca_pem="work-ca")
LOCAL = Endpoint("https://127.0.0.1:8443", token="local-token", ca_pem="local-ca")
BOOK = ContextBook("work", {"work": WORK})


def environment(**variables: str) -> Environment:
    return environment_from(variables, home=HOME, is_root=False)


def test_folders_follow_the_user_and_the_variables() -> None:
    assert environment().data_dir == HOME / ".local/share/lattice"
    assert environment_from({}, home=HOME, is_root=True).data_dir == Path("/var/lib/lattice")
    assert environment(LATTICE_DATA_DIR="/d").data_dir == Path("/d")
    assert environment(LATTICE_DATA_DIR="").data_dir_chosen is False
    assert environment(XDG_CONFIG_HOME="/c").contexts_file == Path("/c/lattice/contexts.json")


def test_the_environment_goes_first_and_brings_what_is_known_about_its_address() -> None:
    assert choose(environment(LATTICE_URL="work:8443"), BOOK, LOCAL) == WORK
    assert choose(environment(LATTICE_URL="https://other"), BOOK, LOCAL) == Endpoint("https://other")
    assert choose(environment(LATTICE_URL=LOCAL.url, LATTICE_TOKEN="t"), BOOK, LOCAL).token == "t"


def test_then_the_chosen_folder_then_the_context_then_the_local_platform() -> None:
    assert choose(environment(LATTICE_DATA_DIR="/d"), BOOK, LOCAL) == LOCAL
    assert choose(environment(), BOOK, LOCAL) == WORK
    assert choose(environment(), ContextBook(), LOCAL) == LOCAL


def test_a_chosen_folder_without_a_platform_never_means_another_one() -> None:
    with pytest.raises(CliError, match="No platform was started from /d"):
        choose(environment(LATTICE_DATA_DIR="/d"), BOOK, None)


def test_knowing_none_says_how_to_get_one() -> None:
    with pytest.raises(CliError) as caught:
        choose(environment(), ContextBook(), None)
    assert "lattice up" in caught.value.todo
    assert "lattice login" in caught.value.todo


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("host:8443", "https://host:8443"),
        ("https://host/", "https://host"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_addresses(given: str, kept: str) -> None:
    assert clean_url(given) == kept


@pytest.mark.parametrize(
    "given",
    ["http://host", "ftp://host", "https://", "https://host/path", "https://host:port", "https://h?x=1"],
)
def test_addresses_that_are_refused(given: str) -> None:
    with pytest.raises(CliError):
        clean_url(given)


def test_contexts_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "lattice" / "contexts.json"
    save_book(path, BOOK.with_context("home", LOCAL))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_book(path) == ContextBook("home", {"work": WORK, "home": LOCAL})
    assert load_book(path).using("work").current == "work"
    assert load_book(path).without("home") == ContextBook(None, {"work": WORK})
    assert load_book(path).without("work").current == "home"
    with pytest.raises(CliError, match="no context 'x'"):
        load_book(path).using("x")


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"current": null, "contexts": {"a": {}}}', '{"contexts": []}']
)
def test_a_damaged_file_says_which_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "contexts.json"
    path.write_text(content)
    with pytest.raises(CliError, match=r"contexts\.json"):
        load_book(path)


def test_the_local_platform_is_read_from_its_folder(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    (tmp_path / "run").mkdir()
    assert local_platform(tmp_path) is None
    (tmp_path / "run/platform.json").write_text(
        f'{{"url": "https://127.0.0.1:1", "token": "t", "ca": "{ca}"}}'
    )
    assert local_platform(tmp_path) == Endpoint("https://127.0.0.1:1", "t", ca.read_text())
