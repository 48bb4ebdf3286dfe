"""Which route a name means, and which instance of it is asked."""

from __future__ import annotations

import pytest

from lattice.contracts.messages import RouteDocument, RouteEndpoint
from lattice.contracts.spec import PortProtocol
from services.ingress.headers import listed_in, request_headers, response_headers, upgrade_of, why_refused
from services.ingress.pages import not_ready
from services.ingress.routing import Nowhere, RouteTable, choose


def route(
    host: str = "web--default", *, number: int = 1, endpoints: tuple[RouteEndpoint, ...] = (), **more: object
) -> RouteDocument:
    return RouteDocument.model_validate(
        {
            "route_id": f"rt-{host}", "project": "default", "workload_id": "wl-1", "workload_name": "web", "port_name": "http",
            "protocol": PortProtocol.HTTP, "host": host, "endpoints": endpoints, "era": 1, "number": number, **more,
        }
    )  # fmt: skip


def at(instance: str, node: str) -> RouteEndpoint:
    return RouteEndpoint(instance_id=f"in-{instance}", node_id=f"nd-{node}", container_port=80)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("web--default.apps.localhost", True),
        ("WEB--DEFAULT.APPS.LOCALHOST:8080", True),
        ("web--default.apps.localhost.", True),
        ("web--default.apps.localhost.evil.example", False),
        ("x.web--default.apps.localhost", False),
        ("web--default", False),
        ("apps.localhost", False),
        ("", False),
        ("127.0.0.1:8080", False),
    ],
)
def test_a_name_is_ours_exactly_or_not_at_all(host: str, found: bool) -> None:
    table = RouteTable().with_documents([route()])
    assert (table.find(host, "apps.localhost") is not None) is found


def test_older_documents_change_nothing_and_released_names_lead_nowhere() -> None:
    table = RouteTable().with_documents([route(number=2, waiting_for="new")])
    assert table.with_documents([route(number=1)]) == table
    gone = table.with_documents([route(number=3, released=True)])
    assert gone.by_label == {} == gone.with_documents([route(number=2)]).by_label


def test_a_route_that_changes_is_found_as_it_is_now() -> None:
    first = RouteTable().with_documents([route(), route("db--default", protocol="tcp", port=20000)])
    busier = first.with_documents([route(number=2, endpoints=(at("a", "1"),))])
    assert busier.by_label is first.by_label, "names that stay cost nothing"
    found = busier.find("web--default.apps.localhost", "apps.localhost")
    assert found is not None and found.endpoints == (at("a", "1"),)
    named = busier.with_documents([route(number=3, domains=("shop.example.org",))])
    assert named.find("shop.example.org:8080", "apps.localhost") == named.by_id["rt-web--default"]
    moved = named.with_documents([route("db--default", number=2, protocol="tcp", port=20001)])
    assert moved.at_port(20000) is None and moved.at_port(20001) is not None
    assert moved.find("db--default.apps.localhost", "apps.localhost") is None


def test_the_least_busy_instance_on_a_node_that_is_there() -> None:
    web = route(endpoints=(at("a", "1"), at("b", "2"), at("c", "3")))
    everywhere = frozenset({"nd-1", "nd-2", "nd-3"})
    assert choose(web, everywhere, {}) == at("a", "1")
    assert choose(web, everywhere, {"in-a": 2, "in-b": 1, "in-c": 1}) == at("b", "2")
    assert choose(web, frozenset({"nd-3"}), {"in-c": 99}) == at("c", "3")
    assert choose(web, everywhere, {}, frozenset({"in-a", "in-b"})) == at("c", "3")
    all_tried = choose(web, everywhere, {}, frozenset({"in-a", "in-b", "in-c"}))
    assert isinstance(all_tried, Nowhere) and not all_tried.passing
    away = Nowhere("its node is not connected to the ingress right now", passing=True)
    assert choose(web, frozenset(), {}) == away
    starting = route(waiting_for="it is starting", is_starting=True)
    assert choose(starting, everywhere, {}) == Nowhere("it is starting", passing=True)
    assert choose(route(waiting_for="it is stopped"), everywhere, {}) == Nowhere("it is stopped")


def test_headers_of_one_connection_stay_on_it() -> None:
    headers = [
        (b"host", b"h"), (b"connection", b"keep-alive, X-Mine, host"), (b"x-mine", b"1"), (b"keep-alive", b"5"), (b"te", b"trailers"),
        (b"x-real-ip", b"9.9.9.9"), (b"forwarded", b"for=9.9.9.9"), (b"x-lattice-project", b"other"), (b"x_lattice_user", b"root"),
        (b"x_forwarded_for", b"9.9.9.9"), (b"x-forwarded-prefix", b"/"), (b"proxy", b"evil:80"), (b"accept", b"*/*"),
    ]  # fmt: skip
    sent = request_headers(headers, client="1.2.3.4", scheme="http", upgrade=None)
    assert sent == [
        (b"host", b"h"), (b"accept", b"*/*"), (b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-host", b"h"),
        (b"x-forwarded-proto", b"http"), (b"connection", b"close"),
    ]  # fmt: skip
    assert listed_in(headers, b"connection") == {b"keep-alive", b"x-mine", b"host"}
    assert response_headers([(b"connection", b"close"), (b"a", b"b")]) == [(b"a", b"b")]


def test_only_a_websocket_is_an_upgrade() -> None:
    upgrade = [(b"host", b"h"), (b"connection", b"Upgrade"), (b"upgrade", b"WebSocket")]
    assert upgrade_of(upgrade) == b"websocket" and why_refused(b"GET", b"/", upgrade) == ""
    assert upgrade_of([(b"host", b"h"), (b"upgrade", b"websocket")]) is None
    assert "websocket only" in why_refused(
        b"GET", b"/", [(b"host", b"h"), (b"connection", b"upgrade"), (b"upgrade", b"h2c")]
    )


def test_a_page_says_what_it_was_told_as_text() -> None:
    body = not_ready("web", "<script>alert(1)</script>", passing=False).body.decode()
    assert "<script>" not in body and "&lt;script&gt;" in body


def test_who_comes_again_in_a_moment_is_told_so_only_where_that_helps() -> None:
    assert b"Try again" in not_ready("web", "it is starting", passing=True).body
    assert b"Try again" not in not_ready("web", "it is stopped", passing=False).body
