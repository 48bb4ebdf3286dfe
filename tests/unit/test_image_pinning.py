"""Which content runs: the registry's word first, then what nodes hold, else a refusal that says what to do."""

from __future__ import annotations

import pytest

from lattice.contracts.nouns import LocalImage
from lattice.contracts.spec import PullPolicy
from lattice.image_reference import parse_reference
from services.registry.expansion import ImageChoice
from services.registry.image_pinning import (
    Answer,
    ImageRefused,
    PinnedImage,
    RegistryAnswer,
    needs_registry,
    pin,
)

DIGEST = "sha256:" + "d" * 64
FOUND, AWAY = RegistryAnswer(Answer.FOUND, digest=DIGEST), RegistryAnswer(Answer.AWAY, detail="no route")
MISSING, DENIED = (
    RegistryAnswer(Answer.MISSING),
    RegistryAnswer(Answer.DENIED, detail="it wants a user and password"),
)
HELD = {
    "n1": [LocalImage(id="i1", references=("redis:7",))],
    "n2": [LocalImage(id="i1", references=("redis:7",))],
}
REDIS = ImageChoice("redis:7")


def pinned(choice: ImageChoice, answer: RegistryAnswer, nodes: dict[str, list[LocalImage]]) -> PinnedImage:
    found = pin(choice, PullPolicy.MISSING, answer, nodes)
    assert isinstance(found, PinnedImage)
    return found


def refused(
    choice: ImageChoice, answer: RegistryAnswer, nodes: dict[str, list[LocalImage]], pull: PullPolicy
) -> str:
    found = pin(choice, pull, answer, nodes)
    assert isinstance(found, ImageRefused)
    return found.detail


def test_the_registrys_digest_wins_over_what_nodes_hold() -> None:
    assert pinned(REDIS, FOUND, HELD) == PinnedImage(f"redis@{DIGEST}", reason="digest given by its registry")


def test_a_written_digest_needs_nobody() -> None:
    choice = ImageChoice(f"redis@{DIGEST}")
    assert not needs_registry(choice, PullPolicy.MISSING)
    assert pinned(choice, RegistryAnswer(Answer.NOT_ASKED), {}).reference == f"redis@{DIGEST}"


@pytest.mark.parametrize("answer", [AWAY, MISSING, DENIED])
def test_without_a_digest_the_id_on_nodes_counts_and_runs_only_there(answer: RegistryAnswer) -> None:
    found = pinned(REDIS, answer, HELD)
    assert (found.image_id, found.only_nodes) == ("i1", ("n1", "n2"))


def test_of_two_ids_under_one_tag_the_more_common_is_pinned() -> None:
    nodes = HELD | {"n3": [LocalImage(id="other", references=("redis:7",))]}
    assert pinned(REDIS, AWAY, nodes).only_nodes == ("n1", "n2")


def test_the_newest_local_image_stands_in_where_nobody_insisted() -> None:
    images = [LocalImage(id=f"i{n}", references=(f"lattice.local/redis:7.0.{n}",)) for n in (9, 15, 10)]
    found = pinned(ImageChoice("redis:7", "lattice.local/redis"), AWAY, {"n1": images})
    assert (found.reference, found.image_id) == ("lattice.local/redis:7.0.15", "i15")


@pytest.mark.parametrize(
    ("answer", "advice"), [(AWAY, "no route"), (MISSING, "Check the name"), (DENIED, "pull_secret")]
)
def test_a_refusal_says_why_and_what_to_do(answer: RegistryAnswer, advice: str) -> None:
    assert advice in refused(REDIS, answer, {}, PullPolicy.MISSING)


def test_always_pulling_never_takes_what_lies_around() -> None:
    assert "always" in refused(REDIS, AWAY, HELD, PullPolicy.ALWAYS)


def test_never_pulling_takes_only_what_lies_around() -> None:
    assert not needs_registry(REDIS, PullPolicy.NEVER)
    refused(REDIS, RegistryAnswer(Answer.NOT_ASKED), {}, PullPolicy.NEVER)
    found = pin(REDIS, PullPolicy.NEVER, RegistryAnswer(Answer.NOT_ASKED), HELD)
    assert isinstance(found, PinnedImage) and found.image_id == "i1"


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("redis", "docker.io", "library/redis", None),
        ("redis:7", "docker.io", "library/redis", "7"),
        ("minio/minio:latest", "docker.io", "minio/minio", "latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000", "a/b", "1"),
        ("localhost/a", "localhost", "a", None),
        ("ghcr.io/acme/api", "ghcr.io", "acme/api", None),
    ],
)
def test_references_are_read_as_the_engine_reads_them(
    text: str, host: str, repository: str, tag: str | None
) -> None:
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag) == (host, repository, tag)
