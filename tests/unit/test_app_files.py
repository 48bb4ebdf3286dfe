"""Compose files as specs of workloads: what each key becomes, and that nothing is dropped in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.compose_file import support
from lattice.compose_file.interpolation import BadVariable, Used, interpolate, read_env_file
from lattice.compose_file.reading import AppFile, read_app
from lattice.compose_file.support import DEPLOY_KEYS, SERVICE_KEYS, TOP_KEYS, Support
from lattice.contracts.spec import Condition, WorkloadSpec

DOCS = Path(__file__).parents[2] / "docs" / "compose.md"
PLAIN = {"image": "nginx:1.27", "restart": "always"}


def app(web: dict[str, Any] | None = None, **top: Any) -> AppFile:
    """The app `shop` with a service `web`, and a healthy `db` beside it."""
    db = {**PLAIN, "healthcheck": {"test": "true"}}
    return read_app({"services": {"db": db, "web": {**PLAIN, **(web or {})}}, **top}, "shop")


def spec(web: dict[str, Any], **top: Any) -> WorkloadSpec:
    """What `web` becomes where nothing is wrong."""
    file = app(web, **top)
    assert not file.problems, [each.text for each in file.problems]
    return next(each.spec for each in file.services if each.service == "web")


def problems(web: dict[str, Any], **top: Any) -> list[str]:
    return [each.path for each in app(web, **top).problems]


MAPPED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"command": "serve --port '80 81'"}, {"command": ("serve", "--port", "80 81")}),
    ({"command": ["serve", 80]}, {"command": ("serve", "80")}),
    ({"entrypoint": "/run.sh now"}, {"entrypoint": ("/run.sh", "now")}),
    ({"environment": ["A=1", "B=x=y", "C="]}, {"env": {"A": "1", "B": "x=y", "C": ""}}),
    ({"environment": {"A": 1, "B": True, "C": 0.5}}, {"env": {"A": "1", "B": "true", "C": "0.5"}}),
    ({"restart": "unless-stopped"}, {"restart": {"policy": "always"}}),
    ({"restart": "no"}, {"restart": {"policy": "never"}}),
    ({"restart": False}, {"restart": {"policy": "never"}}),
    ({"restart": "on-failure"}, {"restart": {"policy": "on-failure"}}),
    ({"restart": None}, {"restart": {"policy": "never"}}),
    (
        {"deploy": {"restart_policy": {"condition": "on-failure", "delay": "5s"}}},
        {"restart": {"policy": "on-failure", "backoff": {"initial": 5.0}}},
    ),
    ({"scale": 2}, {"replicas": 2}),
    ({"deploy": {"replicas": "3", "mode": "replicated"}}, {"replicas": 3}),
    ({"cpus": "0.25", "mem_limit": "64m", "pids_limit": 9}, {"resources": {"cpu": 0.25, "memory": 64 * 2**20, "pids": 9}}),
    ({"deploy": {"resources": {"limits": {"cpus": 2, "memory": "1gb"}}}}, {"resources": {"cpu": 2, "memory": 2**30}}),
    ({"deploy": {"update_config": {"order": "stop-first"}}}, {"update": {"order": "stop-first"}}),
    ({"pull_policy": "if_not_present"}, {"pull": "missing"}),
    ({"pull_policy": "always"}, {"pull": "always"}),
    (
        {"external_links": ["orders-db:store", "cache"]},
        {"links": [{"workload": "orders-db", "as": "store"}, {"workload": "cache"}]},
    ),
    ({"depends_on": ["db"]}, {"depends_on": {"shop-db": "started"}}),
    ({"depends_on": {"db": {"condition": "service_healthy", "restart": False, "required": True}}}, {"depends_on": {"shop-db": "healthy"}}),
    ({"healthcheck": {"disable": True}}, {}),
    ({"healthcheck": {"test": ["NONE"]}}, {}),
    (
        {"healthcheck": {"test": ["CMD", "ok", "-q"], "interval": "1m30s", "timeout": "500ms", "retries": 5, "start_period": "0s"}},
        {"health": {"exec": {"command": ["ok", "-q"]}, "interval": 90, "timeout": 0.5, "retries": 5, "start_period": 0}},
    ),
    (
        {"healthcheck": {"test": ["CMD-SHELL", "a | b"]}},
        {"health": {"exec": {"command": ["/bin/sh", "-c", "a | b"]}, "timeout": 30}},
    ),
    ({"healthcheck": {"test": "a | b"}}, {"health": {"exec": {"command": ["/bin/sh", "-c", "a | b"]}, "timeout": 30}}),
    (
        {"x-lattice": {"env": {"URL": {"from": "orders-db", "key": "uri"}}, "secrets": {"KEY": {"from": "api-key"}}}},
        {"env": {"URL": {"from": "orders-db", "key": "uri"}}, "secrets": {"KEY": {"from": "api-key"}}},
    ),
    ({"x-lattice": {"env": {"HOST": {"from": "db", "key": "host"}}}}, {"env": {"HOST": {"from": "shop-db", "key": "host"}}}),
    ({"networks": ["default"], "labels": [], "privileged": False, "x-note": {"any": "thing"}}, {}),
    ({"init": True, "expose": ["80"]}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "wanted"), MAPPED)
def test_what_a_key_becomes(written: dict[str, Any], wanted: dict[str, Any]) -> None:
    plain = {"name": "shop-web", "image": "nginx:1.27", "restart": {"policy": "always"}}
    assert spec(written) == WorkloadSpec.model_validate(plain | wanted)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("80", (80, "http")),
        (80, (80, "http")),
        ("8080:80", (80, "http")),
        ("127.0.0.1:8080:80/tcp", (80, "http")),
        ("[::1]:8080:80", (80, "http")),
        (":80", (80, "http")),
        ({"target": 80}, (80, "http")),
        (
            {"target": "5432", "published": "5432", "app_protocol": "postgresql", "mode": "host"},
            (5432, "tcp"),
        ),
    ],
)
def test_ports(written: object, wanted: tuple[int, str]) -> None:
    (port,) = spec({"ports": [written]}).ports
    assert (port.port, port.protocol.value, port.name) == (*wanted, f"port-{wanted[0]}")


def test_a_host_port_is_told_to_be_chosen_by_lattice() -> None:
    notes = {each.path: each.detail for each in app({"ports": ["80", "8080:81"]}).notes}
    assert "services.web.ports[0]" not in notes
    assert "chosen by Lattice" in notes["services.web.ports[1]"]


def test_named_volumes() -> None:
    top: dict[str, Any] = {"volumes": {"db_data": None, "more": {}}}
    mounts = [
        "db_data:/var/lib/x:rw",
        {"type": "volume", "source": "more", "target": "/more"},
    ]
    found = spec({"volumes": mounts}, **top).volumes
    assert [(volume.name, volume.path) for volume in found] == [("db-data", "/var/lib/x"), ("more", "/more")]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"volumes": ["./src:/src"]}, "services.web.volumes[0]"),
    ({"volumes": ["/etc:/etc"]}, "services.web.volumes[0]"),
    ({"volumes": ["~/x:/x"]}, "services.web.volumes[0]"),
    ({"volumes": ["/data"]}, "services.web.volumes[0]"),
    ({"volumes": ["unknown:/data"]}, "services.web.volumes[0]"),
    ({"volumes": [{"type": "bind", "source": "/etc", "target": "/etc"}]}, "services.web.volumes[0]"),
    ({"volumes": [{"type": "tmpfs", "target": "/tmp"}]}, "services.web.volumes[0]"),
    ({"volumes": "data:/data"}, "services.web.volumes"),
    ({"ports": ["8000-8010:80"]}, "services.web.ports[0]"),
    ({"ports": ["53/udp"]}, "services.web.ports[0]"),
    ({"ports": ["http"]}, "services.web.ports[0]"),
    ({"ports": ["99999"]}, "services.web.ports[0]"),
    ({"depends_on": ["cache"]}, "services.web.depends_on[0]"),
    ({"depends_on": [{"db": {}}]}, "services.web.depends_on[0]"),
    ({"depends_on": {"db": {"condition": "service_done"}}}, "services.web.depends_on.db.condition"),
    ({"depends_on": {"db": {"condition": "service_completed_successfully"}}}, "services.web.depends_on.db"),
    ({"healthcheck": {"test": ["CMD"]}}, "services.web.healthcheck.test"),
    ({"healthcheck": {"test": "x", "interval": "5"}}, "services.web.healthcheck.interval"),
    ({"healthcheck": {"test": "x", "interval": "10ms"}}, "services.web.healthcheck.interval"),
    ({"image": None}, "services.web"),
    ({"image": "Not An Image"}, "services.web.image"),
    ({"restart": "sometimes"}, "services.web.restart"),
    ({"environment": ["A"]}, "services.web.environment[0]"),
    ({"environment": {"A": {}}}, "services.web.environment.A"),
    ({"environment": {"A B": "1"}}, "services.web.environment.A B"),
    ({"deploy": {"mode": "global"}}, "services.web.deploy.mode"),
    ({"deploy": {"replicas": "many"}}, "services.web.deploy.replicas"),
    ({"mem_limit": "lots"}, "services.web.mem_limit"),
    ({"cpus": 1, "deploy": {"resources": {"limits": {"cpus": 2}}}}, "services.web.deploy.resources.limits.cpus"),
    ({"imgae": "x"}, "services.web.imgae"),
    ({"x-lattice": {"envs": {}}}, "services.web.x-lattice.envs"),
    ({"x-lattice": {"env": {"A": "1"}}}, "services.web.x-lattice.env.A"),
    ({"x-lattice": {"env": {"A": {"from": "db"}}}}, "services.web.x-lattice.env.A"),
    ({"x-lattice": {"env": {"A": {"from": "db", "key": "salt"}}}}, "services.web.x-lattice.env.A"),
    ({"x-lattice": {"env": {"A": {"from": "No Name", "key": "uri"}}}}, "services.web.x-lattice.env.A"),
    ({"x-lattice": {"secrets": {"A": {"from": 1}}}}, "services.web.x-lattice.secrets.A"),
    ({"environment": ["A=1"], "x-lattice": {"env": {"A": {"from": "db", "key": "uri"}}}}, "services.web.x-lattice.env.A"),
    ({"deploy": {"replica": 1}}, "services.web.deploy.replica"),
    ({"profiles": ["dev"]}, "services.web.profiles"),
    ({"extends": "db"}, "services.web.extends"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "path"), REFUSED)
def test_what_cannot_be_applied_is_refused_with_its_place(written: dict[str, Any], path: str) -> None:
    found = [each for each in app(written).problems if not each.optional]
    assert path in [each.path for each in found], [each.text for each in found]


LEFT_OUT: list[tuple[dict[str, Any], str]] = [
    ({"build": "."}, "services.web.build"),
    ({"init": False}, "services.web.init"),
    ({"volumes": ["data:/data:ro"]}, "services.web.volumes[0]"),
    ({"restart": "on-failure:3"}, "services.web.restart"),
    ({"networks": ["back"]}, "services.web.networks"),
    ({"depends_on": {"db": {"required": False}}}, "services.web.depends_on.db.required"),
    ({"healthcheck": {"test": "x", "start_interval": "1s"}}, "services.web.healthcheck.start_interval"),
    ({"deploy": {"placement": {"constraints": []}}}, "services.web.deploy.placement"),
    ({"deploy": {"resources": {"reservations": {"cpus": 1}}}}, "services.web.deploy.resources.reservations"),
    ({"deploy": {"restart_policy": {"max_attempts": 3}}}, "services.web.deploy.restart_policy.max_attempts"),
    ({"deploy": {"update_config": {"parallelism": 2}}}, "services.web.deploy.update_config.parallelism"),
    ({"ports": [{"target": 80, "x-any": 1, "gate": "way"}]}, "services.web.ports[0].gate"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "path"), LEFT_OUT)
def test_what_is_not_supported_is_named_and_can_be_left_out(written: dict[str, Any], path: str) -> None:
    (found,) = app(written, volumes={"data": None}).problems
    assert (found.path, found.optional) == (path, True)
    assert len(app(written, volumes={"data": None}).services) == 2


@pytest.mark.parametrize(
    "key", [name for name, key in SERVICE_KEYS.items() if key.support is Support.REFUSED]
)
def test_every_refused_key_of_the_compose_spec_is_told(key: str) -> None:
    (found,) = app({key: "something"}).problems
    assert found.path == f"services.web.{key}" and SERVICE_KEYS[key].how in found.detail


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ({"volumes": {"data": {"driver": "nfs"}}}, "volumes.data.driver"),
        ({"volumes": {"data": {"external": True}}}, "volumes.data.external"),
        ({"networks": {"back": {}}}, "networks"),
        ({"secrets": {"a": {"file": "a"}}}, "secrets"),
        ({"configs": {"a": {"file": "a"}}}, "configs"),
        ({"include": ["other.yaml"]}, "include"),
        ({"service": {}}, "service"),
    ],
)
def test_the_top_of_the_file(top: dict[str, Any], path: str) -> None:
    assert problems({}, **top) == [path]


def test_the_top_of_the_file_takes_what_means_nothing() -> None:
    file = app({}, version="3.8", name="shop", networks={"default": None}, **{"x-any": 1})
    assert not file.problems and "version" in [each.path for each in file.notes]


def test_a_volume_belongs_to_one_service() -> None:
    both = {"a": {**PLAIN, "volumes": ["data:/d"]}, "b": {**PLAIN, "volumes": ["data:/d"]}}
    (found,) = read_app({"services": both, "volumes": {"data": None}}, "shop").problems
    assert found.path == "services.b.volumes[0]" and "used by a already" in found.detail


def test_services_come_after_what_they_depend_on() -> None:
    written = {"web": {**PLAIN, "depends_on": ["api"]}, "api": {**PLAIN, "depends_on": ["db"]}, "db": PLAIN}
    file = read_app({"services": written}, "shop")
    assert [each.service for each in file.services] == ["db", "api", "web"]
    assert file.services[1].spec.depends_on == {"shop-db": Condition.STARTED}


def test_a_circle_is_refused() -> None:
    written = {"a": {**PLAIN, "depends_on": ["b"]}, "b": {**PLAIN, "depends_on": ["a"]}}
    (found,) = read_app({"services": written}, "shop").problems
    assert "wait for each other" in found.detail


def test_healthy_needs_a_healthcheck() -> None:
    written = {"db": PLAIN, "web": {**PLAIN, "depends_on": {"db": {"condition": "service_healthy"}}}}
    (found,) = read_app({"services": written}, "shop").problems
    assert found.path == "services.web.depends_on.db" and "no healthcheck" in found.detail


@pytest.mark.parametrize(
    ("service", "wanted"),
    [("my_db", "shop-my-db"), ("Web.1", "shop-web-1"), ("a-very-long-name-of-a-service", None), ("a__b", None), ("a b", None)],
)  # fmt: skip
def test_names_of_workloads(service: str, wanted: str | None) -> None:
    file = read_app({"services": {service: PLAIN}}, "shop")
    assert [each.spec.name for each in file.services] == ([wanted] if wanted else [])
    assert bool(file.problems) is (wanted is None)


@pytest.mark.parametrize("services", [None, {}, [], "web", {"web": None}, {"web": "nginx"}])
def test_a_file_without_services_is_refused(services: Any) -> None:
    assert read_app({"services": services}, "shop").problems
    assert read_app({}, "shop").problems


# --- variables ---------------------------------------------------------------------------------------------

VARIABLES = {"TAG": "1.27", "EMPTY": "", "HOST": "db"}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("nginx:$TAG", "nginx:1.27"),
        ("nginx:${TAG}-x", "nginx:1.27-x"),
        ("$$TAG ${TAG}", "$TAG 1.27"),
        ("${NONE}", ""),
        ("${NONE:-a b}", "a b"),
        ("${EMPTY:-a}", "a"),
        ("${EMPTY-a}", ""),
        ("${NONE-a}", "a"),
        ("${NONE:-${HOST:-x}:5432}", "db:5432"),
        ("${TAG:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${TAG:?needed}", "1.27"),
        ("no variable", "no variable"),
    ],
)
def test_variables_are_filled(written: str, wanted: str) -> None:
    assert interpolate({"a": [written]}, VARIABLES, Used()) == {"a": [wanted]}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("${NONE:?give a tag}", "services.web.image: NONE is not set: give a tag"),
        ("${EMPTY:?}", "services.web.image: EMPTY is not set"),
        ("${TAG", "a brace is not closed"),
        ("${TAG!x}", "cannot read"),
        ("costs 5$", "for a dollar sign"),
    ],
)
def test_a_variable_that_cannot_be_filled_says_where_and_why(written: str, why: str) -> None:
    with pytest.raises(BadVariable) as raised:
        interpolate({"services": {"web": {"image": written}}}, VARIABLES, Used())
    assert why in str(raised.value)


def test_it_is_known_which_variables_were_used() -> None:
    used = Used()
    interpolate({"a": "${TAG} ${NONE} ${OTHER:-x}", "${HOST}": 1}, VARIABLES, used)
    assert (used.filled, used.unset) == ({"TAG"}, {"NONE"})


@pytest.mark.parametrize(
    ("written", "wanted"),
    [(["TAG", "NONE", "A=$TAG"], ["TAG=1.27", "A=1.27"]), ({"TAG": None, "NONE": None, "A": 1}, {"TAG": "1.27", "A": 1})],
)  # fmt: skip
def test_a_variable_without_a_value_is_the_callers(written: Any, wanted: Any) -> None:
    document = {"services": {"web": {"environment": written}}}
    assert interpolate(document, VARIABLES, Used()) == {"services": {"web": {"environment": wanted}}}


def test_an_env_file() -> None:
    text = "# a comment\nA=1\nexport B='two words'\nC=\"x\"\nD=y # said\n\n"
    assert read_env_file(text) == {"A": "1", "B": "two words", "C": "x", "D": "y"}
    with pytest.raises(BadVariable, match="line 1"):
        read_env_file("not a variable")


# --- the published matrix ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [SERVICE_KEYS, DEPLOY_KEYS, TOP_KEYS], ids=["services", "deploy", "top"])
def test_the_matrix_in_the_docs_is_the_one_that_is_obeyed(keys: Any) -> None:
    assert support.table(keys) in DOCS.read_text()


_WORDS = (
    "", "a", "db", "web", "data:/data", "./a:/b", "80", "8080:80", "5s", "64m", "A=1", "no", "always", "CMD", "NONE", "'", "default",
    "condition", "service_healthy", "test", "interval", "limits", "cpus", "resources", "replicas", "target", "source", "type", "x-a",
)  # fmt: skip
_SCALARS = st.none() | st.booleans() | st.integers(-9, 99_999) | st.floats(0, 9) | st.sampled_from(_WORDS)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=8,
)
_SERVICES = st.dictionaries(st.sampled_from([*SERVICE_KEYS, "x-a", "typo"]), _ANYTHING, max_size=6)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["db", "web", "Web.1", "a b"]), _SERVICES | _ANYTHING, max_size=3),
    _ANYTHING,
)
def test_whatever_is_written_is_mapped_or_named(services: Any, volumes: Any) -> None:
    """No document breaks the reader, and each key that is given is mapped, noted or refused by its place."""
    file = read_app({"services": services, "volumes": volumes}, "shop")
    said = {each.path for each in (*file.problems, *file.notes)}
    for service, content in services.items():
        for key in content if isinstance(content, dict) else ():
            place = f"services.{service}.{key}"
            known = SERVICE_KEYS.get(key)
            refused = known is None or known.support is Support.REFUSED
            if refused and key != "x-a" and content[key] not in (None, False, [], {}) and service != "a b":
                assert place in said


def test_who_has_credentials_of_a_service_comes_after_it() -> None:
    """It can only be told what there is."""
    uses = {"env": {"HOST": {"from": "zz", "key": "host"}}}
    file = read_app({"services": {"aa": {**PLAIN, "x-lattice": uses}, "zz": PLAIN}}, "shop")
    assert [each.service for each in file.services] == ["zz", "aa"]
    circle = read_app(
        {"services": {"aa": {**PLAIN, "x-lattice": uses}, "zz": {**PLAIN, "depends_on": ["aa"]}}}, "shop"
    )
    assert "wait for each other" in circle.problems[0].detail
