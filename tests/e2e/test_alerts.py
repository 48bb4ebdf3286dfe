"""Things go wrong on the running product, and who subscribed with a credential of their own hears of each: in time, once, and of its end.

All of it is heard by a plain NATS client: what it may not hear, it does not.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from lattice.contracts.streams import SCHED
from lattice.pki_files import client_context
from tests.fixtures.engine import Engine, running_engine
from tests.fixtures.platform import Platform, platforms, until
from tests.fixtures.reliability import Record

pytestmark = pytest.mark.timeout(400)

Json = dict[str, Any]
CREDENTIAL_TTL_S = 45.0
REMEMBERED_S = 15.0
DISK_MIB = 400
# How soon each is told after its cause, in seconds: what the documentation promises (docs/alerts.md), and how long this may take at most.
PROMISED_S = {
    "LatticeWorkloadCrashLooping": 30.0,
    "LatticeDeployFailed": 30.0,
    "LatticeWorkloadFailed": 30.0,
    "LatticeNodeDiskLow": 30.0,
    "LatticeDeadLetter": 30.0,
    "LatticeNodeEngineAway": 30.0,
    "LatticeNodeUnreachable": 30.0,
    # a third of its life before its end, less the sixth that is left when it is told
    "LatticeCertificateExpiring": CREDENTIAL_TTL_S + 10,
}
ENDED_WITHIN_S = 60.0
# One that is restarted again and again, and one that is to run once and fails: only of that a deploy is sure to fail, because what is
# seen running for a moment counts as deployed.
MEANT = {
    "LatticeWorkloadCrashLooping": "boom",
    "LatticeDeployFailed": "bad",
    "LatticeWorkloadFailed": "bad",
}
CRASHES, FAILS = ("sh", "-c", "sleep 2; exit 3"), ("sh", "-c", "exit 3")


@dataclass
class Sre:
    """A client of the bus with nothing but the files of its credential; it listens in a thread of its own."""

    folder: Path
    made: Json
    heard: list[tuple[str, Json]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _client: Client | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def listen(self) -> None:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.run(self._connect())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        if self._client is not None:
            self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _connect(self) -> None:
        self._client = await nats.connect(
            self.made["urls"],
            tls=self._tls(),
            tls_hostname=self.made["server_name"],
            tls_handshake_first=True,
            user_credentials=str(self.folder / "nats.creds"),
            inbox_prefix=self.made["inbox_prefix"] or "_INBOX_nobody",
            error_cb=self._complained,
            allow_reconnect=False,
        )
        await self._client.subscribe(self.made["subscribe"], cb=self._hear)
        await self._client.flush()

    def _tls(self) -> ssl.SSLContext:
        return client_context(
            self.folder / "ca.pem",
            certificate_file=self.folder / "client.pem",
            key_file=self.folder / "client-key.pem",
        )

    async def _hear(self, message: Msg) -> None:
        alert = json.loads(message.data)
        if alert["name"] != "LatticeWatchdog":
            self.heard.append((message.subject, alert))

    async def _complained(self, error: Exception) -> None:
        self.complaints.append(str(error))

    def changes(self, name: str) -> list[str]:
        """What was told of the alerts of a name; of those of workloads, of the one that is meant."""
        wanted = MEANT.get(name)
        heard = [alert for _, alert in list(self.heard) if alert["name"] == name]
        return [alert["change"] for alert in heard if wanted in (None, alert["entity_name"])]

    def order(self, verb: str, body: Json) -> tuple[Json | None, str]:
        """An order as `nats request` gives it: the reply, or the error in its header."""
        assert self._client is not None
        reply = self.run(
            self._client.request(f"{self.made['order']}.{verb}", json.dumps(body).encode(), timeout=10)
        )
        error = (reply.headers or {}).get("Lattice-Error", "")
        return (json.loads(reply.data) if reply.data else None), error

    async def try_to(self, publish: str = "", subscribe: str = "") -> None:
        """Something that it may not do; the server complains."""
        assert self._client is not None
        if subscribe:
            await self._client.subscribe(subscribe, cb=self._hear)
        if publish:
            await self._client.publish(publish, b"{}")
        await self._client.flush()


@contextmanager
def disk_at(folder: Path) -> Iterator[Path]:
    """A small disk of its own that everybody on this machine sees there."""
    image = folder.with_name("disk.img")
    with image.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, image_test: str) -> Iterator[Engine]:
    """An Engine whose data are on a small disk."""
    folder = tmp_path_factory.mktemp("engine")
    with disk_at(folder / "data"), running_engine(folder, image_test) as engine:
        yield engine


@pytest.fixture(scope="module")
def platform(engine: Engine) -> Iterator[Platform]:
    with platforms() as make:
        platform = make(
            LATTICE_DOCKER_URL=engine.url,
            LATTICE_REGISTRY_CREDENTIAL_TTL_S=str(CREDENTIAL_TTL_S),
            LATTICE_REGISTRY_MISHAPS_REMEMBERED_S=str(REMEMBERED_S),
        )
        platform.up()
        yield platform


def credential(platform: Platform, folder: Path, *options: str) -> Sre:
    """Made by the command line, as an admin does it."""
    made = platform.json("user", "sre-credential", folder.name, "--to", str(folder), *options)
    assert "private_key" not in made and "creds" not in made, "what is secret is in the files alone"
    return Sre(folder, made)


@pytest.fixture(scope="module")
def sre(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sre]:
    sre = credential(platform, tmp_path_factory.mktemp("sre") / "pager", "--may-order")
    sre.listen()
    yield sre
    sre.close()


@pytest.fixture(scope="module")
def clerk(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sre]:
    """One that may only hear, and only of a project in which nothing happens."""
    platform.ok("project", "create", "quiet")
    clerk = credential(platform, tmp_path_factory.mktemp("sre") / "clerk", "--project", "quiet")
    clerk.listen()
    yield clerk
    clerk.close()


class Scene:
    """What goes wrong, and when it was heard of."""

    def __init__(self, sre: Sre) -> None:
        self.sre = sre
        self.took_s: dict[str, float] = {}

    def until_told(self, names: list[str], began_s: float) -> None:
        """Each opens within its time, once."""
        for name in names:
            until(
                lambda name=name: "opened" in self.sre.changes(name),  # type: ignore[misc]
                timeout_s=PROMISED_S[name] - (time.monotonic() - began_s),
                what=f"{name} being told",
            )
            self.took_s.setdefault(name, time.monotonic() - began_s)

    def until_over(self, names: list[str]) -> None:
        """Each ends by itself; what it said in between is nothing."""
        for name in names:
            until(
                lambda name=name: self.sre.changes(name)[-1:] == ["resolved"],  # type: ignore[misc]
                timeout_s=ENDED_WITHIN_S,
                what=f"{name} being over",
            )
            assert self.sre.changes(name) == ["opened", "resolved"], "once"


@pytest.mark.timeout(0)
def test_each_thing_that_goes_wrong_is_told_in_time_once_and_so_is_its_end(
    platform: Platform, engine: Engine, sre: Sre, clerk: Sre, image_test: str, record: Record
) -> None:
    scene = Scene(sre)
    began_s = time.monotonic()
    quick = ("--set", "restart.backoff.initial=0.2s", "--no-wait")
    platform.ok("run", image_test, "--name", "boom", *quick, "--", *CRASHES)
    platform.ok("run", image_test, "--name", "bad", "--restart", "never", "--no-wait", "--", *FAILS)
    _poison(platform)
    filler = engine.data / "filler"
    subprocess.run(["fallocate", "-l", f"{int(DISK_MIB * 0.85)}M", str(filler)], check=True)
    names = [
        "LatticeDeployFailed",
        "LatticeWorkloadFailed", "LatticeWorkloadCrashLooping", "LatticeNodeDiskLow", "LatticeDeadLetter",
    ]  # fmt: skip
    scene.until_told(names, began_s)
    for name in ("boom", "bad"):
        platform.ok("rm", name, "--yes", "--no-wait")
    filler.unlink()
    no_gateway_s = time.monotonic()
    platform.kill("gateway", Signals.SIGSTOP)  # whom nodes ask for a new certificate
    scene.until_over(names)

    began_s = time.monotonic()
    engine.end(Signals.SIGTERM)
    scene.until_told(["LatticeNodeEngineAway"], began_s)
    engine.start()
    scene.until_told(["LatticeCertificateExpiring"], no_gateway_s)
    platform.kill("gateway", Signals.SIGCONT)
    scene.until_over(["LatticeNodeEngineAway", "LatticeCertificateExpiring"])

    began_s = time.monotonic()
    platform.kill("agent", Signals.SIGSTOP)
    scene.until_told(["LatticeNodeUnreachable"], began_s)
    platform.kill("agent", Signals.SIGCONT)
    scene.until_over(["LatticeNodeUnreachable"])

    told = {alert["name"] for _, alert in sre.heard}
    assert told == set(PROMISED_S), "this, and nothing else"
    assert clerk.heard == [] and clerk.complaints == [] and sre.complaints == []
    for subject, alert in sre.heard:
        assert subject == "lattice.alert.{project}.{severity}.{source}.{name}".format(**alert)
    record(
        "alerts: crash loop, full disk, poisoned message, Engine stopped, agent hung, certificate not renewed",
        "each told once and its end once; after " + ", ".join(
            f"{name.removeprefix('Lattice')} {took_s:.0f} s" for name, took_s in scene.took_s.items()
        ),
    )  # fmt: skip


def _poison(platform: Platform) -> None:
    """A wake-up for the scheduler that nobody can read."""

    async def publish() -> None:
        settings = platform.bus_settings("registry")
        client = await nats.connect(
            settings.urls,
            tls=client_context(
                settings.ca_file, certificate_file=settings.cert_file, key_file=settings.key_file
            ),
            tls_hostname=settings.server_name,
            tls_handshake_first=True,
            user_credentials=str(settings.creds_file),
            inbox_prefix="_INBOX_registry",
        )
        await client.jetstream().publish(SCHED.subjects[0].replace("*", "wl-poison"), b"no message")
        await client.close()

    asyncio.run(publish())


@pytest.fixture
def failed(platform: Platform, sre: Sre, image_test: str) -> Iterator[Json]:
    """An alert that is open: a workload that keeps failing."""
    before = len(sre.heard)
    quick = ("--set", "restart.backoff.initial=0.2s", "--no-wait")
    platform.ok("run", image_test, "--name", "again", *quick, "--", *CRASHES)

    def opened() -> Json | None:
        found = [alert for _, alert in sre.heard[before:] if alert["source"] == "workload"]
        return found[0] if found else None

    alert = until(opened, timeout_s=120, what="the alert")
    assert alert is not None
    yield alert
    platform.ok("rm", "again", "--yes")


def test_orders_are_given_at_the_bus_by_whoever_may(
    platform: Platform, sre: Sre, clerk: Sre, failed: Json
) -> None:
    seen, error = sre.order("acknowledge", {"alert": failed["id"], "note": "on my way"})
    assert seen is not None and error == ""
    assert (seen["state"], seen["note"]) == ("acknowledged", "on my way")
    assert seen["acknowledged_by"] == f"sre:{sre.made['id']}"
    silence, error = sre.order("silence", {"alert": failed["id"], "for_s": 600, "reason": "known"})
    assert silence is not None and silence["active"] is True
    until(lambda: "silenced" in [alert["change"] for _, alert in sre.heard], what="the silence being told")
    assert platform.json("alerts", "show", failed["id"])["state"] == "silenced"
    assert "There is no alert" in sre.order("acknowledge", {"alert": "al-nobody"})[1]
    assert "for_s" in sre.order("silence", {"alert": failed["id"], "for_s": 1, "reason": "x"})[1]

    forbidden: list[Callable[[Sre], Any]] = [
        lambda who: who.try_to(subscribe="lattice.evt.>"),
        lambda who: who.try_to(subscribe="$JS.API.>"),
        lambda who: who.try_to(publish="lattice.alert._platform.critical.node.LatticeNodeUnreachable"),
        lambda who: who.try_to(publish="lattice.svc.alerts.resolve_alert"),
        lambda who: who.try_to(publish="lattice.alert-order._all.sr-somebody.acknowledge"),
        lambda who: who.try_to(subscribe="lattice.alert.>"),
    ]
    for act in forbidden:
        before = len(clerk.complaints)
        clerk.run(act(clerk))
        until(lambda: len(clerk.complaints) > before, timeout_s=10, what="the server's refusal")  # noqa: B023
    assert all("permissions violation" in complaint for complaint in clerk.complaints)
    assert clerk.heard == []


def test_what_is_revoked_is_cut_and_stays_out(platform: Platform, tmp_path: Path) -> None:
    gone = credential(platform, tmp_path / "gone")
    with ExitStack() as stack:
        gone.listen()
        stack.callback(gone.close)
        assert gone._client is not None and gone._client.is_connected
        platform.ok("user", "sre-revoke", "gone", "--yes")
        until(lambda: gone._client is not None and gone._client.is_closed, timeout_s=10, what="the cut")
        with pytest.raises(nats.errors.Error):
            gone.run(gone._connect())
        gone._client = None
    listed = {each["name"]: each for each in platform.json("user", "sre-credentials")["items"]}
    assert listed["gone"]["revoked_at"] is not None and listed["pager"]["revoked_at"] is None
    assert "is not empty" in platform.refused(
        "user", "sre-credential", "gone", "--to", str(tmp_path / "gone")
    )
