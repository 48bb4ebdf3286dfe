"""The documents follow the catalogue, and nobody edits them by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lattice.contracts import asyncapi
from lattice.contracts.catalogue import CHANNELS, RPCS

DOCUMENT = asyncapi.document()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def look_up(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_documents_are_those_of_the_catalogue() -> None:
    assert asyncapi.stale() == [], "run python -m lattice.contracts.asyncapi --write"


def test_check_tells_of_a_stale_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asyncapi, "DOCS", tmp_path / "docs")
    assert asyncapi.main(["--check"]) == 1
    assert asyncapi.main(["--write"]) == 0
    assert asyncapi.main(["--check"]) == 0
    (tmp_path / "docs" / "channels.md").write_text("edited")
    assert asyncapi.main(["--check"]) == 1
    assert "channels.md differs" in capsys.readouterr().err


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        assert look_up(reference) is not None, reference


def test_every_channel_and_request_is_there() -> None:
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()} - {None}
    assert addresses == {it.address.template for it in CHANNELS} | {it.address.template for it in RPCS}


def test_an_operation_uses_messages_of_its_channel_only() -> None:
    for name, operation in DOCUMENT["operations"].items():
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), name


def test_parameters_are_the_places_of_the_address() -> None:
    for channel in DOCUMENT["channels"].values():
        places = {part[1:-1] for part in (channel["address"] or "").split(".") if part.startswith("{")}
        assert places == set(channel.get("parameters", {}))


def test_the_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_message_fits_its_schema() -> None:
    from lattice.contracts.messages import PlacementWanted

    schema = {**look_up("#/components/schemas/PlacementWanted"), "components": DOCUMENT["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(PlacementWanted(workload_id="wl-1").model_dump(mode="json"))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"workload_id": "NOT AN ID"})


def test_the_yaml_reads_back_as_the_document() -> None:
    assert yaml.safe_load(asyncapi.as_yaml()) == DOCUMENT
