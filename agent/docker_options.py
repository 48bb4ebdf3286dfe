"""From `ContainerOptions` to the Engine's create request, and the last look at that request before it leaves.  Pure.

The request is built from a type that has no field for anything dangerous.  It is checked all the same, as the plain object that goes over the
socket, against an allow-list of keys and values: one wrong line in the building, now or in years, must not give a tenant the machine.  What is
not on the list is refused, not removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any

from lattice.errors import Forbidden
from lattice.runtime import ContainerOptions

Request = dict[str, Any]
Rule = Callable[[Any], bool]

# What images of databases and web servers need to chown their data and to drop from root to their own user; nothing of it reaches the host.
# KILL reaches the container's own processes only.  Without it docker-init, which is root inside, may not hand a signal on to a service that runs
# as a user of its own: it died of that, and every stop of a database was a crash.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_SECURITY = ["no-new-privileges"]  # the default seccomp profile stays: naming one would replace it
_LOOPBACK = "127.0.0.1"


def create_request(options: ContainerOptions) -> Request:
    """The body of the Engine's `POST /containers/create`."""
    request: Request = {
        "Image": options.image,
        "Env": [f"{name}={value}" for name, value in sorted(options.env.items())],
        "Labels": dict(options.labels),
        "ExposedPorts": {f"{port.container_port}/tcp": {} for port in options.ports},
        "StopTimeout": options.stop_timeout_s,
        "HostConfig": _host_config(options),
        "NetworkingConfig": {"EndpointsConfig": {options.network: {"Aliases": list(options.aliases)}}},
    }
    if options.command is not None:
        request["Cmd"] = list(options.command)
    if options.entrypoint is not None:
        request["Entrypoint"] = list(options.entrypoint)
    return request


def _host_config(options: ContainerOptions) -> Request:
    return {
        "Memory": options.memory_bytes,
        "MemorySwap": options.memory_bytes,  # equal to Memory: no swap, so the limit is the limit
        "NanoCpus": options.cpu_millis * 1_000_000,
        "PidsLimit": options.pids,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": list(_SECURITY),
        "LogConfig": LOG_CONFIG,
        "RestartPolicy": {"Name": "no"},  # docs/decisions: the agent owns restarts
        "Init": True,
        "NetworkMode": options.network,
        "ExtraHosts": [f"{host}:{address}" for host, address in sorted(options.hosts.items())],
        "PortBindings": {
            f"{port.container_port}/tcp": [{"HostIp": port.host_ip, "HostPort": str(port.host_port)}]
            for port in options.ports
        },
        "Mounts": [
            *({"Type": "volume", "Source": mount.volume, "Target": mount.path} for mount in options.volumes),
            *(
                {"Type": "bind", "Source": bind.source, "Target": bind.path, "ReadOnly": True}
                for bind in options.files
            ),
        ],
    }


def check_request(request: Mapping[str, Any], *, files_root: Path) -> None:
    """Raises Forbidden unless every key and value of a create request is on the list.  `files_root` is where the agent's own files lie."""
    _check("", request, _TOP_RULES)
    host = request["HostConfig"]
    _check("HostConfig.", host, _HOST_RULES)
    for mount in host["Mounts"]:
        if not _mount_is_fine(mount, files_root):
            raise _refused("HostConfig.Mounts", mount.get("Source"))


def check_joins(networks: Iterable[str]) -> None:
    """Raises Forbidden unless each network that a container is to join as well is one of ours."""
    for name in networks:
        if not _own_network(name):
            raise _refused("EndpointsConfig", name)


def files_request(image: str, folder: Path, *, inside: str) -> Request:
    """The body that makes a container, never to be started, through which files are put into `folder`."""
    mount = {"Type": "bind", "Source": str(folder), "Target": inside, "ReadOnly": False}
    return {
        "Image": image,
        "Cmd": ["-"],
        "Labels": {},
        "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "Mounts": [mount]},
    }


def check_files_request(request: Mapping[str, Any], *, files_root: Path) -> None:
    """Raises Forbidden unless the only thing that such a container gets is a folder inside `files_root`."""
    _check("", request, {"Image": _text, "Cmd": _is(["-"]), "Labels": _is({}), "HostConfig": _any_object})
    host = request["HostConfig"]
    _check("HostConfig.", host, {"NetworkMode": _is("none"), "CapDrop": _is(["ALL"]), "Mounts": _one})
    (mount,) = host["Mounts"]
    if mount["Type"] != "bind" or not _lies_in(Path(mount["Source"]), files_root):
        raise _refused("HostConfig.Mounts", mount["Source"])


def _check(where: str, given: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for name, value in given.items():
        rule = rules.get(name)
        if rule is None or not rule(value):
            raise _refused(f"{where}{name}", value if rule is not None else "any value")
    missing = _REQUIRED.intersection(rules) - given.keys()
    if missing:
        raise Forbidden(f"The container was not made: its request lacks {where}{min(missing)}.")


def _refused(name: str, value: object) -> Forbidden:
    return Forbidden(f"The container was not made: its request has {name} = {value!r}, which is not allowed.")


def _is(expected: object) -> Rule:
    return lambda value: value == expected and type(value) is type(expected)


def _any_object(value: Any) -> bool:
    return isinstance(value, dict)


def _one(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _labels(value: Any) -> bool:
    return isinstance(value, dict) and all(name.startswith("lattice.") for name in value)


def _ports(value: Any) -> bool:
    return isinstance(value, dict) and all(each == {} for each in value.values())


def _own_network(value: Any) -> bool:
    """A network of ours by name: never `host`, `none`, `default`, `bridge` or `container:…`."""
    return isinstance(value, str) and value.startswith("lattice-") and ":" not in value


def _networking(value: Any) -> bool:
    endpoints = value.get("EndpointsConfig") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(endpoints, dict) or len(endpoints) != 1:
        return False
    return all(_own_network(name) and set(each) == {"Aliases"} for name, each in endpoints.items())


def _hosts(value: Any) -> bool:
    """Names with an address that nobody else on the internet has."""
    return _texts(value) and all(_host(each) for each in value)


def _host(value: str) -> bool:
    name, _, address = value.partition(":")
    try:
        return re.fullmatch(r"[a-z][a-z0-9-]*", name) is not None and not ip_address(address).is_global
    except ValueError:
        return False


def _bindings(value: Any) -> bool:
    return isinstance(value, dict) and all(_binding(each) for each in value.values())


def _binding(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 1 or set(value[0]) != {"HostIp", "HostPort"}:
        return False
    port = value[0]["HostPort"]
    return value[0]["HostIp"] == _LOOPBACK and str(port).isdigit() and int(port) >= 1024


def _mount_is_fine(mount: Mapping[str, Any], files_root: Path) -> bool:
    source, target = mount.get("Source", ""), str(mount.get("Target", ""))
    if not target.startswith("/") or ".." in PurePosixPath(target).parts:
        return False
    if mount.get("Type") == "volume":
        return set(mount) == {"Type", "Source", "Target"} and _own_volume(source)
    bind = set(mount) == {"Type", "Source", "Target", "ReadOnly"} and mount["ReadOnly"] is True
    return bind and mount["Type"] == "bind" and _lies_in(Path(source), files_root)


def _own_volume(name: str) -> bool:
    """A name, never a path: a path would be a bind mount in disguise."""
    return name.startswith("lattice-") and "/" not in name


def _lies_in(path: Path, root: Path) -> bool:
    """Where the path really leads: a link out of the folder is refused too."""
    resolved = path.resolve()
    return resolved != root.resolve() and resolved.is_relative_to(root.resolve())


_TOP_RULES: Mapping[str, Rule] = {
    "Image": _text,
    "Cmd": _texts,
    "Entrypoint": _texts,
    "Env": _texts,
    "Labels": _labels,
    "ExposedPorts": _ports,
    "StopTimeout": lambda value: type(value) is int and value >= 0,
    "HostConfig": _any_object,
    "NetworkingConfig": _networking,
}
_HOST_RULES: Mapping[str, Rule] = {
    "Memory": _positive,
    "MemorySwap": _positive,
    "NanoCpus": _positive,
    "PidsLimit": _positive,
    "CapDrop": _is(["ALL"]),
    "CapAdd": lambda value: _texts(value) and set(value) <= set(CAPABILITIES),
    "SecurityOpt": _is(_SECURITY),
    "LogConfig": _is(LOG_CONFIG),
    "RestartPolicy": _is({"Name": "no"}),
    "Init": _is(True),
    "NetworkMode": _own_network,
    "ExtraHosts": _hosts,
    "PortBindings": _bindings,
    "Mounts": lambda value: isinstance(value, list),
}
_REQUIRED = frozenset(_HOST_RULES) | {"Image", "Labels", "HostConfig", "NetworkingConfig"}
