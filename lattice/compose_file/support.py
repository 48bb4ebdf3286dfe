"""Which keys of compose-spec are honoured, and how: the one list that the reader obeys and that docs/compose.md shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MATRIX = "docs/compose.md"


class Support(StrEnum):
    """What becomes of a key."""

    MAPPED = "mapped"
    NOTED = "accepted"  # nothing has to be done for it; the answer says so
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the compose-spec: what becomes of it, and in words how, or what to do instead."""

    support: Support
    how: str


def _mapped(how: str) -> Key:
    return Key(Support.MAPPED, how)


def _noted(how: str) -> Key:
    return Key(Support.NOTED, how)


def _refused(how: str) -> Key:
    return Key(Support.REFUSED, how)


_LIMITED = "use deploy.resources.limits, cpus, mem_limit or pids_limit"
_HARDENED = "what containers may do is the same for all, and little"
_ENGINE = "the agent decides how containers use the Engine"
_NETWORK = "the services of an app share one network of their own"
_NAMED = "containers are named by Lattice; services reach each other by service name"

SERVICE_KEYS: Mapping[str, Key] = {
    "annotations": _refused("Lattice sets the labels of containers"),
    "attach": _refused("`lattice logs` shows what a service writes"),
    "blkio_config": _refused(_LIMITED),
    "build": _refused("images are not built here; build it, push it to a registry and name it with `image`"),
    "cap_add": _refused(_HARDENED),
    "cap_drop": _refused(_HARDENED),
    "cgroup": _refused(_ENGINE),
    "cgroup_parent": _refused(_ENGINE),
    "command": _mapped("`command`; a text is split into words as compose does, without a shell"),
    "configs": _refused("put the files into the image or a volume"),
    "container_name": _refused(_NAMED),
    "cpu_count": _refused(_LIMITED),
    "cpu_percent": _refused(_LIMITED),
    "cpu_period": _refused(_LIMITED),
    "cpu_quota": _refused(_LIMITED),
    "cpu_rt_period": _refused(_LIMITED),
    "cpu_rt_runtime": _refused(_LIMITED),
    "cpu_shares": _refused(_LIMITED),
    "cpus": _mapped("`resources.cpu`, as deploy.resources.limits.cpus"),
    "cpuset": _refused(_LIMITED),
    "credential_spec": _refused(_ENGINE),
    "depends_on": _mapped(
        "`depends_on`: service_started, service_healthy, service_completed_successfully; `restart` and `required: false` are refused"
    ),
    "deploy": _mapped("see the keys below `deploy`"),
    "develop": _refused("for `docker compose watch` only"),
    "device_cgroup_rules": _refused(_HARDENED),
    "devices": _refused(_HARDENED),
    "dns": _refused(_NETWORK),
    "dns_opt": _refused(_NETWORK),
    "dns_search": _refused(_NETWORK),
    "domainname": _refused(_NAMED),
    "driver_opts": _refused(_NETWORK),
    "entrypoint": _mapped("`entrypoint`; a text is split into words as compose does, without a shell"),
    "env_file": _refused("put the variables into `environment`"),
    "environment": _mapped("`env`, from a list or a mapping; values are stored readable, so no passwords"),
    "expose": _noted("the services of an app reach all ports of each other"),
    "extends": _refused("write the service out: `docker compose config` does it"),
    "external_links": _mapped(
        "`links`, from WORKLOAD or WORKLOAD:NAME: workloads outside of the app, on any node"
    ),
    "extra_hosts": _refused(_NETWORK),
    "gpus": _refused(_HARDENED),
    "group_add": _refused(_HARDENED),
    "healthcheck": _mapped(
        "`health.exec` from CMD, CMD-SHELL or a text; interval, timeout, retries, start_period; `disable` and NONE leave it out"
    ),
    "hostname": _refused(_NAMED),
    "image": _mapped("`image`, pinned by digest when it is accepted"),
    "init": _noted("every container has an init process; `false` is refused"),
    "ipc": _refused(_HARDENED),
    "isolation": _refused(_ENGINE),
    "label_file": _refused("Lattice sets the labels of containers"),
    "labels": _refused("Lattice sets the labels of containers"),
    "links": _refused("services reach each other by service name without it; for the order use depends_on"),
    "logging": _refused("Lattice collects the logs of all containers"),
    "mac_address": _refused(_NETWORK),
    "mem_limit": _mapped("`resources.memory`, as deploy.resources.limits.memory"),
    "mem_reservation": _refused("what a service may use is reserved for it"),
    "mem_swappiness": _refused(_LIMITED),
    "memswap_limit": _refused("containers do not swap"),
    "models": _refused(_ENGINE),
    "network_mode": _refused(_NETWORK),
    "networks": _refused(f"{_NETWORK}; only `default` without options is accepted"),
    "oom_kill_disable": _refused(_HARDENED),
    "oom_score_adj": _refused(_HARDENED),
    "pid": _refused(_HARDENED),
    "pids_limit": _mapped("`resources.pids`, as deploy.resources.limits.pids"),
    "platform": _refused("the image's own platform decides"),
    "ports": _mapped(
        "`ports`, from short and long forms, TCP only; the host port is chosen by Lattice, `lattice app show` shows it. "
        "`app_protocol` http is the default, anything else but https is plain tcp; ranges and UDP are refused"
    ),
    "post_start": _refused("run it with the service's own command"),
    "pre_stop": _refused("handle SIGTERM in the service"),
    "privileged": _refused(_HARDENED),
    "profiles": _refused("write what is to run into a file of its own"),
    "provider": _refused(_ENGINE),
    "pull_policy": _mapped("`pull`: always, missing, if_not_present, never; others are refused"),
    "pull_refresh_after": _refused("use pull_policy: always"),
    "read_only": _refused(_HARDENED),
    "restart": _mapped(
        "`restart.policy`: no (the default, as in compose), always, unless-stopped (as always), on-failure without a number"
    ),
    "runtime": _refused(_ENGINE),
    "scale": _mapped("`replicas`, as deploy.replicas"),
    "secrets": _refused("values of secrets do not come from files beside the compose file"),
    "security_opt": _refused(_HARDENED),
    "shm_size": _refused(_LIMITED),
    "stdin_open": _refused("`lattice exec` opens a terminal inside a container"),
    "stop_grace_period": _refused("a container has 10 s to end by itself"),
    "stop_signal": _refused("containers are asked to end as their image says"),
    "storage_opt": _refused(_ENGINE),
    "sysctls": _refused(_HARDENED),
    "tmpfs": _refused("use a named volume"),
    "tty": _refused("`lattice exec` opens a terminal inside a container"),
    "ulimits": _refused(_HARDENED),
    "use_api_socket": _refused(_HARDENED),
    "user": _refused("the image's own user runs it"),
    "userns_mode": _refused(_HARDENED),
    "uts": _refused(_HARDENED),
    "volumes": _mapped(
        "`volumes`: named volumes only, each of one service; bind mounts, anonymous volumes and tmpfs are refused"
    ),
    "volumes_from": _refused("a volume belongs to one service"),
    "working_dir": _refused("the image's own folder is used; change it in the command or the image"),
    "x-lattice": _mapped(
        "`env` for credentials of another service, or of another workload of the project (`DATABASE_URL: {from: orders-db, key: uri}`), and "
        "`secrets` (`API_KEY: {from: api-key}`); compose itself ignores it"
    ),
}

DEPLOY_KEYS: Mapping[str, Key] = {
    "endpoint_mode": _refused(_NETWORK),
    "labels": _refused("Lattice sets the labels of containers"),
    "mode": _mapped("`replicated` is what Lattice does; others are refused"),
    "placement": _refused("the services of an app run on one node, which the scheduler chooses"),
    "replicas": _mapped("`replicas`; with a volume 1 at most"),
    "resources": _mapped("limits.cpus, limits.memory, limits.pids; limits are reserved as well, so `reservations` is refused"),
    "restart_policy": _mapped("condition none, on-failure, any; delay; `max_attempts` and `window` are refused"),
    "rollback_config": _refused("an update that fails goes back by itself"),
    "update_config": _mapped("`order` as `update.order`; the other keys are refused"),
}  # fmt: skip

TOP_KEYS: Mapping[str, Key] = {
    "configs": _refused("put the files into the image or a volume"),
    "include": _refused("write it out: `docker compose config` does it"),
    "models": _refused(_ENGINE),
    "name": _mapped("the app's name, unless another is given with the request (`--name`)"),
    "networks": _refused(f"{_NETWORK}; only `default` without options is accepted"),
    "secrets": _refused("values of secrets do not come from files beside the compose file"),
    "services": _mapped("each becomes the workload `<app>-<service>`"),
    "version": _noted("compose ignores it too"),
    "volumes": _mapped("named volumes without options; 1 GiB is reserved for each"),
}


def table(keys: Mapping[str, Key]) -> str:
    """The rows of docs/compose.md."""
    rows = [f"| `{name}` | {key.support} | {key.how} |" for name, key in keys.items()]
    return "\n".join(["| key | | how |", "|---|---|---|", *rows])
