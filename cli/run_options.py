"""Reads the options of `lattice run`: `-p 8080`, `-p 5432/tcp`, `--volume data:/path:5Gi`, `-e K=V`.  Pure.

A port is what the container listens on.  Where it answers from outside is the platform's choice, so `HOST:CONTAINER` is refused with the
reason instead of being half obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cli.errors import usage
from cli.setters import parse_scalar

_PORT = re.compile(r"^(?:(?P<name>[a-z][a-z0-9-]*):)?(?P<port>\d{1,5})(?:/(?P<protocol>[a-z]+))?$")
_PROTOCOLS = ("http", "tcp", "tls")


def read_ports(texts: Sequence[str]) -> list[dict[str, Any]]:
    """`ports` of a spec.  A port without a name is called after its protocol, and its number too where several share one."""
    found = [_port(text) for text in texts]
    protocols = [protocol for name, _, protocol in found if name is None]
    return [
        {
            "name": name or _port_name(port, protocol, alone=protocols.count(protocol) == 1),
            "port": port,
            "protocol": protocol,
        }
        for name, port, protocol in found
    ]


def opened(ports: Sequence[dict[str, Any]], *, public: bool, domains: Sequence[str]) -> list[dict[str, Any]]:
    """The ports, public if they are to be, the first one that has a name with these domains."""
    if domains and not public:
        raise usage("A domain leads to a public port.", todo="add --public")
    made = [port | {"public": True} for port in ports] if public else [*ports]
    named = [number for number, port in enumerate(made) if port["protocol"] != "tcp"]
    if domains and not named:
        raise usage("A domain leads to an http or tls port, and there is none.", todo="add -p PORT")
    if domains:
        made[named[0]] |= {"domains": [*domains]}
    return made


def read_links(texts: Sequence[str]) -> list[dict[str, str]]:
    """`links` of a spec from `WORKLOAD[:NAME]`."""
    pairs = [text.partition(":") for text in texts]
    return [{"workload": workload, **({"as": name} if name else {})} for workload, _, name in pairs]


def _port(text: str) -> tuple[str | None, int, str]:
    match = _PORT.match(text)
    if match is None and re.match(r"^[\d.:]+:\d+", text):
        raise usage(
            f"Cannot publish {text!r}: the platform chooses the public port.",
            todo=f"write the container's port only: -p {text.rsplit(':', 1)[1]}",
        )
    protocol = (match["protocol"] or "http") if match else ""
    if match is None or protocol not in _PROTOCOLS:
        raise usage(f"Cannot read the port {text!r}.", todo="write -p 8080, -p 5432/tcp or -p NAME:8080")
    return match["name"], int(match["port"]), protocol


def _port_name(port: int, protocol: str, *, alone: bool) -> str:
    return protocol if alone else f"{protocol}-{port}"


def read_volume(text: str) -> dict[str, Any]:
    """One of `volumes` of a spec from `NAME:/PATH[:SIZE]`."""
    name, path, size = (*text.split(":", 2), "", "")[:3]
    if name.startswith((".", "/", "~")):
        raise usage(
            f"Cannot mount {name!r}: a volume is named, and never a path of the host.",
            todo=f"write --volume data:{path or '/PATH'}; what must be in it is put there by the workload",
        )
    if not name or not path.startswith("/"):
        raise usage(
            f"Cannot read the volume {text!r}.",
            todo="write --volume data:/var/lib/data or data:/var/lib/data:5Gi",
        )
    return {"name": name, "path": path, **({"size": size} if size else {})}


def read_pairs(texts: Sequence[str], *, option: str) -> dict[str, str]:
    """`K=V` options as a mapping; the value may be empty and may hold further `=`."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise usage(f"Cannot read {option} {text!r}.", todo=f"write {option} KEY=VALUE")
        if key in pairs:
            raise usage(f"{option} {key} is given twice.")
        pairs[key] = value
    return pairs


def read_secrets(texts: Sequence[str]) -> dict[str, Any]:
    """`secrets` of a spec from `VARIABLE=NAME`."""
    return {key: {"from": name} for key, name in read_pairs(texts, option="--secret").items()}


def read_resources(**amounts: str | None) -> dict[str, Any]:
    """`resources` of a spec: what is a number as a number, `500m` and `512Mi` as they are."""
    return {key: parse_scalar(text) for key, text in amounts.items() if text is not None}


def given(**values: Any) -> dict[str, Any]:
    """The values that were given."""
    return {key: value for key, value in values.items() if value is not None}


def without_empty(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` without what was left out on the command line; 0 replicas are a number like any other."""
    return {key: value for key, value in spec.items() if value not in (None, "", [], {})}


def read_check(
    check: str, *, http: str | None, tcp: str | None, ports: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """`health` or `liveness` (`check`) of a spec from `--<check>-http PORT/PATH` or `--<check>-tcp PORT`; the port must be among `ports`."""
    if http and tcp:
        raise usage(f"Give --{check}-http or --{check}-tcp, not both.")
    if http:
        port, _, path = http.partition("/")
        return {"http": {"port": _name_of(port, ports, option=f"--{check}-http"), "path": f"/{path}"}}
    return {"tcp": {"port": _name_of(tcp, ports, option=f"--{check}-tcp")}} if tcp else None


def _name_of(wanted: str, ports: Sequence[Mapping[str, Any]], *, option: str) -> str:
    for port in ports:
        if wanted in (str(port["port"]), port["name"]):
            return str(port["name"])
    raise usage(f"{option} names port {wanted!r}, which no -p gives.", todo=f"add -p {wanted}")
