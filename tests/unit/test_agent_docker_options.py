"""The create request: what it holds, and that nothing dangerous passes the last look."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from agent.docker_options import check_joins, check_request, create_request
from lattice.errors import Forbidden
from lattice.runtime import ContainerOptions, FileBind, PublishedPort, VolumeMount


@pytest.fixture
def request_(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "in-1").mkdir()
    (tmp_path / "in-1" / "0").write_text("x")
    return create_request(
        ContainerOptions(
            name="lattice-c1-wl-1-0-1",
            image="a:1",
            labels={"lattice.cluster": "c1"},
            network="lattice-c1-default",
            aliases=("web",),
            command=("serve",),
            entrypoint=("/bin/x",),
            env={"B": "2", "A": "1"},
            ports=(PublishedPort(container_port=80, host_port=20001),),
            volumes=(VolumeMount(volume="lattice-c1-vo-1", path="/data"),),
            files=(FileBind(source=str(tmp_path / "in-1" / "0"), path="/etc/x"),),
            cpu_millis=500,
            memory_bytes=2**26,
            pids=64,
        )
    )


def test_what_the_agent_builds_passes(request_: dict[str, Any], tmp_path: Path) -> None:
    check_request(request_, files_root=tmp_path)
    assert request_["Env"] == ["A=1", "B=2"] and request_["HostConfig"]["NanoCpus"] == 500_000_000


TOP: list[tuple[str, Any]] = [
    ("User", "0"), ("Hostname", "x"), ("Volumes", {"/": {}}), ("Labels", {"com.docker.x": "1"}), ("Cmd", "sh -c x"),
    ("NetworkingConfig", {"EndpointsConfig": {"host": {"Aliases": []}}}),
    ("NetworkingConfig", {"EndpointsConfig": {"lattice-c1-default": {"Aliases": [], "IPAMConfig": {}}}}),
    ("NetworkingConfig", {"EndpointsConfig": {}}), ("Image", ""), ("StopTimeout", -1), ("Healthcheck", {}),
    ("ExposedPorts", {"80/tcp": {"x": 1}}), ("SomethingNew", None),
]  # fmt: skip
HOST: list[tuple[str, Any]] = [
    ("Privileged", True), ("Privileged", False), ("CapAdd", ["SYS_ADMIN"]), ("CapAdd", ["CHOWN", "NET_ADMIN"]),
    ("CapDrop", []), ("SecurityOpt", ["seccomp=unconfined"]), ("SecurityOpt", []),
    ("SecurityOpt", ["no-new-privileges", "apparmor=unconfined"]), ("NetworkMode", "host"), ("NetworkMode", "none"),
    ("NetworkMode", "bridge"), ("NetworkMode", "default"), ("NetworkMode", "container:abc"),
    ("NetworkMode", "lattice-x:container"), ("PidMode", "host"), ("IpcMode", "host"), ("UTSMode", "host"),
    ("UsernsMode", "host"), ("CgroupnsMode", "host"), ("Binds", ["/:/host"]), ("VolumesFrom", ["x"]),
    ("VolumeDriver", "nfs"), ("Devices", [{}]), ("DeviceCgroupRules", ["a"]), ("DeviceRequests", [{}]),
    ("Sysctls", {"kernel.x": "1"}), ("Ulimits", []), ("CgroupParent", "/"), ("Runtime", "other"),
    ("OomKillDisable", True), ("OomScoreAdj", -1000), ("ShmSize", 2**40), ("Tmpfs", {"/x": ""}),
    ("StorageOpt", {}), ("ExtraHosts", ["h:host-gateway"]), ("Dns", ["1.1.1.1"]), ("Links", ["x"]),
    ("RestartPolicy", {"Name": "always"}), ("LogConfig", {"Type": "none"}), ("Memory", 0), ("Memory", -1),
    ("MemorySwap", -1), ("NanoCpus", 0), ("PidsLimit", 0), ("PidsLimit", -1), ("PidsLimit", None), ("Init", False),
    ("MaskedPaths", []), ("ReadonlyPaths", []), ("GroupAdd", ["docker"]), ("BlkioWeight", 10), ("Isolation", "x"),
    ("PublishAllPorts", True), ("ContainerIDFile", "/etc/x"), ("CpuRealtimeRuntime", 1), ("AutoRemove", True),
    ("PortBindings", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20001"}]}),
    ("PortBindings", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}),
    ("PortBindings", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}),
    ("PortBindings", {"80/tcp": []}), ("Memory", True), ("Init", 1),
]  # fmt: skip
MOUNTS: list[dict[str, Any]] = [
    {"Type": "bind", "Source": "/", "Target": "/host", "ReadOnly": True},
    {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/x", "ReadOnly": True},
    {"Type": "bind", "Source": "ROOT", "Target": "/x", "ReadOnly": True},
    {"Type": "bind", "Source": "ROOT/../secret", "Target": "/x", "ReadOnly": True},
    {"Type": "bind", "Source": "ROOT/link", "Target": "/x", "ReadOnly": True},
    {"Type": "bind", "Source": "ROOT/in-1/0", "Target": "/x", "ReadOnly": False},
    {"Type": "bind", "Source": "ROOT/in-1/0", "Target": "/x"},
    {"Type": "bind", "Source": "ROOT/in-1/0", "Target": "/x", "ReadOnly": True, "BindOptions": {}},
    {"Type": "volume", "Source": "other", "Target": "/x"},
    {"Type": "volume", "Source": "lattice-/etc", "Target": "/x"},
    {"Type": "volume", "Source": "/etc", "Target": "/x"},
    {"Type": "volume", "Source": "lattice-c1-vo-1", "Target": "/x/../y"},
    {"Type": "volume", "Source": "lattice-c1-vo-1", "Target": "x"},
    {"Type": "volume", "Source": "lattice-c1-vo-1", "Target": "/x", "VolumeOptions": {"DriverConfig": {}}},
    {"Type": "tmpfs", "Target": "/x"},
    {"Type": "npipe", "Source": "x", "Target": "/x"},
]


@pytest.mark.parametrize(("name", "value"), TOP)
def test_other_fields_are_refused(request_: dict[str, Any], tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(Forbidden, match=name):
        check_request({**request_, name: value}, files_root=tmp_path)


@pytest.mark.parametrize(("name", "value"), HOST)
def test_other_host_options_are_refused(
    request_: dict[str, Any], tmp_path: Path, name: str, value: Any
) -> None:
    request_["HostConfig"][name] = value
    with pytest.raises(Forbidden, match=name):
        check_request(request_, files_root=tmp_path)


@pytest.mark.parametrize("network", ["bridge", "host", "none", "container:x", "lattice-c1:x", "other"])
def test_networks_of_others_are_not_joined(network: str) -> None:
    check_joins(["lattice-c1-default"])
    with pytest.raises(Forbidden, match="EndpointsConfig"):
        check_joins(["lattice-c1-default", network])


@pytest.mark.parametrize("mount", MOUNTS)
def test_other_mounts_are_refused(request_: dict[str, Any], tmp_path: Path, mount: dict[str, Any]) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    given = copy.deepcopy(mount)
    if "Source" in given:
        given["Source"] = given["Source"].replace("ROOT", str(tmp_path))
    request_["HostConfig"]["Mounts"].append(given)
    with pytest.raises(Forbidden, match="Mounts"):
        check_request(request_, files_root=tmp_path)


@pytest.mark.parametrize(
    "name", ["Memory", "MemorySwap", "PidsLimit", "CapDrop", "SecurityOpt", "RestartPolicy", "LogConfig"]
)
def test_a_limit_that_is_not_given_is_refused(request_: dict[str, Any], tmp_path: Path, name: str) -> None:
    del request_["HostConfig"][name]
    with pytest.raises(Forbidden, match=name):
        check_request(request_, files_root=tmp_path)
