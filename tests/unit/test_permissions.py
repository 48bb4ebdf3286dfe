"""Allow-lists follow the catalogue and are no wider (tests/integration/test_isolation.py tries them on a server)."""

from __future__ import annotations

import pytest

from lattice.bus_wire import matches
from lattice.contracts.catalogue import CHANNELS, DESIRED_DOCUMENT, NODE, RPCS, SERVICES, SRE
from lattice.contracts.permissions import (
    inbox_prefix,
    node_permissions,
    service_permissions,
    sre_permissions,
)
from lattice.contracts.streams import CONSUMERS, Consumer

NAME = "{{name()}}"
EVERYBODY = (*SERVICES, NODE)


def permissions(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = node_permissions() if name == NODE else service_permissions(name)
    return found.publish, found.subscribe


@pytest.mark.parametrize("name", EVERYBODY)
def test_nobody_has_a_bare_wildcard_or_all_of_jetstream(name: str) -> None:
    for subject in (*permissions(name)[0], *permissions(name)[1]):
        assert not matches(subject, "lattice.anything"), subject
        assert not matches(subject, "$JS.API.STREAM.PURGE.DESIRED"), subject
        assert not matches(subject, "$JS.API.STREAM.DELETE.DESIRED"), subject
        assert not matches(subject, "$SYS.REQ.CLAIMS.UPDATE"), subject


@pytest.mark.parametrize("name", EVERYBODY)
def test_an_inbox_is_its_owners_alone(name: str) -> None:
    mine = inbox_prefix(NAME if name == NODE else name)
    assert [subject for subject in permissions(name)[1] if subject.startswith("_INBOX")] == [f"{mine}.>"]
    assert not any(subject.startswith("_INBOX") for subject in permissions(name)[0])


def test_a_node_reads_its_own_document_only() -> None:
    publish, subscribe = permissions(NODE)
    direct = [subject for subject in publish if subject.startswith("$JS")]
    own = DESIRED_DOCUMENT.address.template.replace("{node_id}", NAME)
    assert direct == [f"$JS.API.DIRECT.GET.DESIRED.{own}"]
    assert own not in subscribe


def test_whoever_answers_may_reply() -> None:
    assert node_permissions().may_reply
    for name in SERVICES:
        answers = any(rpc.server == name for rpc in RPCS)
        assert service_permissions(name).may_reply is answers


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.durable)
def test_only_its_owner_pulls_from_a_consumer(consumer: Consumer) -> None:
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.durable}"
    pulling = [name for name in SERVICES if any(matches(it, pull) for it in permissions(name)[0])]
    assert pulling == [consumer.owner]


def test_everybody_named_in_the_catalogue_is_known() -> None:
    named = {part for channel in CHANNELS for part in (*channel.publishers, *channel.subscribers)}
    named |= {part for rpc in RPCS for part in (*rpc.callers, rpc.server)}
    assert named <= {*EVERYBODY, SRE}


def test_a_person_at_the_bus_hears_alerts_and_no_more() -> None:
    assert sre_permissions("sr-1", project=None, may_order=False).publish == ()
    assert sre_permissions("sr-1", project=None, may_order=False).subscribe == ("lattice.alert.*.*.*.*",)
    assert sre_permissions("sr-1", project="shop", may_order=False).subscribe == ("lattice.alert.shop.*.*.*",)


def test_a_person_at_the_bus_gives_orders_as_themselves_alone() -> None:
    one, shop = (sre_permissions("sr-1", project=project, may_order=True) for project in (None, "shop"))
    assert set(one.publish) == {
        f"lattice.alert-order._all.sr-1.{verb}" for verb in ("acknowledge", "resolve", "silence")
    }
    assert all(subject.startswith("lattice.alert-order.shop.sr-1.") for subject in shop.publish)
    assert one.subscribe[1:] == ("_INBOX_sr-1.>",)
