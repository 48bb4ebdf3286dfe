"""The template images really serve, under the options with which the agent runs every container.

Which image that is (official, or built from packages) is up to the machine; what a template relies on must hold
either way: environment, files, ports, TLS, health paths, and no more than six capabilities.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from minio import Minio
from minio.error import S3Error
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.images.recipes import MINIO, POSTGRES, REDIS, WEB, Recipe
from infra.setup.commands import run
from tests.fixtures.containers import READY_S, File, Running, Service, Start, Tls, until_answered

_POSTGRES_TLS = [
    "-c",
    "ssl=on",
    "-c",
    "ssl_cert_file=/run/lattice/tls.crt",
    "-c",
    "ssl_key_file=/run/lattice/tls.key",
]
_PASSWORD = "correct, 'horse' $battery"
_SECRET_KEY = 'pass"word/+= $HOME'


async def _postgres(running: Running, tls: Tls, **changes: str) -> asyncpg.Connection[Any]:
    login = {"user": "app", "password": _PASSWORD, "database": "orders", **changes}
    return await asyncpg.connect(host="127.0.0.1", port=running.port, ssl=tls.context, timeout=5, **login)


@pytest.fixture
def postgres(image_of: Callable[[Recipe], str], tls: Tls) -> Service:
    """Postgres as its template runs it."""
    return Service(
        image_of(POSTGRES),
        5432,
        command=["postgres", *_POSTGRES_TLS],
        environment={
            "POSTGRES_USER": "app",
            "POSTGRES_DB": "orders",
            "POSTGRES_PASSWORD_FILE": "/run/lattice/password",
        },
        files={**tls.files, "/run/lattice/password": File(_PASSWORD.encode(), mode=0o400, owner=999)},
    )


_POSTGRES_NOT_YET = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncio.TimeoutError)


async def test_postgres_answers_over_tls(start: Start, postgres: Service, tls: Tls) -> None:
    running = await start(postgres)
    connection = await until_answered(running, lambda: _postgres(running, tls), *_POSTGRES_NOT_YET)
    try:
        assert str(await connection.fetchval("select version()")).startswith("PostgreSQL ")
        assert await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()") is True
        assert await connection.fetchval("select current_database()") == "orders"
    finally:
        await connection.close()


async def test_postgres_refuses_a_wrong_password(start: Start, postgres: Service, tls: Tls) -> None:
    running = await start(postgres)
    connection = await until_answered(running, lambda: _postgres(running, tls), *_POSTGRES_NOT_YET)
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _postgres(running, tls, password="wrong")


async def test_postgres_keeps_its_data_over_a_restart(start: Start, postgres: Service, tls: Tls) -> None:
    running = await start(postgres)
    connection = await until_answered(running, lambda: _postgres(running, tls), *_POSTGRES_NOT_YET)
    await connection.execute("create table kept (n int); insert into kept values (7)")
    await connection.close()
    await running.container.stop(timeout=20)
    assert (await running.container.show())["State"]["ExitCode"] == 0
    await running.container.start()
    bindings = (await running.container.show())["NetworkSettings"]["Ports"]["5432/tcp"]
    again = Running(running.container, int(bindings[0]["HostPort"]))
    connection = await until_answered(again, lambda: _postgres(again, tls), *_POSTGRES_NOT_YET)
    assert await connection.fetchval("select n from kept") == 7
    await connection.close()


async def test_postgres_needs_no_command(start: Start, postgres: Service) -> None:
    """Its first start failed: an argument that was not there was handed on as an empty one."""
    running = await start(replace(postgres, command=None))
    login = {"user": "app", "password": _PASSWORD, "database": "orders", "ssl": False}
    connection = await until_answered(
        running,
        lambda: asyncpg.connect(host="127.0.0.1", port=running.port, timeout=5, **login),
        *_POSTGRES_NOT_YET,
    )
    await connection.close()


async def test_postgres_without_a_password_says_so_and_ends(
    start: Start, image_of: Callable[[Recipe], str]
) -> None:
    running = await start(Service(image_of(POSTGRES), 5432))
    assert (await asyncio.wait_for(running.container.wait(), READY_S))["StatusCode"] == 1
    assert "POSTGRES_PASSWORD" in "".join(await running.container.log(stderr=True))


async def test_postgres_runs_init_files_at_its_first_start(start: Start, postgres: Service, tls: Tls) -> None:
    folder = "/docker-entrypoint-initdb.d"
    script = b'#!/bin/bash\nset -e\npsql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "insert into t values (2)"\n'
    files = {f"{folder}/1.sql": File(b"create table t (n int);"), f"{folder}/2.sh": File(script, mode=0o755)}
    running = await start(replace(postgres, files={**postgres.files, **files}))
    connection = await until_answered(running, lambda: _postgres(running, tls), *_POSTGRES_NOT_YET)
    assert await connection.fetchval("select array_agg(n) from t") == [2]
    await connection.close()


async def test_redis_answers_ping_over_tls(start: Start, image_of: Callable[[Recipe], str], tls: Tls) -> None:
    conf = (
        "port 0\ntls-port 6379\ntls-cert-file /run/lattice/tls.crt\ntls-key-file /run/lattice/tls.key\n"
        "tls-ca-cert-file /run/lattice/ca.crt\ntls-auth-clients no\nrequirepass open-sesame\ndir /data\n"
        "appendonly yes\n"
    )
    files = {**tls.files, "/run/lattice/redis.conf": File(conf.encode(), mode=0o400, owner=999)}
    service = Service(image_of(REDIS), 6379, ["redis-server", "/run/lattice/redis.conf"], files=files)
    running = await start(service)
    client = Redis(
        host="127.0.0.1", port=running.port, password="open-sesame", ssl=True, ssl_ca_data=tls.ca_pem
    )
    async with client:
        assert await until_answered(running, lambda: client.ping(), RedisError) is True
        await client.set("colour", "blue")
        assert await client.get("colour") == b"blue"


async def test_redis_without_a_configuration_serves_its_network(
    start: Start, image_of: Callable[[Recipe], str]
) -> None:
    running = await start(Service(image_of(REDIS), 6379))
    async with Redis(host="127.0.0.1", port=running.port) as client:
        assert await until_answered(running, lambda: client.ping(), RedisError) is True


@pytest.fixture
async def object_store(start: Start, image_of: Callable[[Recipe], str]) -> Running:
    """The MinIO template's service, healthy."""
    service = Service(
        image_of(MINIO),
        9000,
        command=["server", "/data", "--console-address", ":9001"],
        environment={
            "MINIO_ROOT_USER_FILE": "/run/lattice/user",
            "MINIO_ROOT_PASSWORD_FILE": "/run/lattice/key",
        },
        files={
            "/run/lattice/user": File(b"admin"),
            "/run/lattice/key": File(_SECRET_KEY.encode(), mode=0o400),
        },
    )
    running = await start(service)

    async def healthy() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
            for path in ("/minio/health/live", "/minio/health/ready"):
                (await client.get(path)).raise_for_status()

    await until_answered(running, healthy, httpx.HTTPError)
    return running


async def test_the_object_store_keeps_objects(object_store: Running) -> None:
    client = Minio(f"127.0.0.1:{object_store.port}", access_key="admin", secret_key=_SECRET_KEY, secure=False)
    content = bytes(range(256)) * 4096
    await asyncio.to_thread(client.make_bucket, "photos")
    await asyncio.to_thread(client.put_object, "photos", "a/b.bin", io.BytesIO(content), len(content))
    answer = await asyncio.to_thread(client.get_object, "photos", "a/b.bin")
    assert answer.data == content
    answer.close()


async def test_the_object_store_refuses_a_wrong_secret(object_store: Running) -> None:
    client = Minio(
        f"127.0.0.1:{object_store.port}", access_key="admin", secret_key="wrong-wrong", secure=False
    )
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        await asyncio.to_thread(client.make_bucket, "photos")


async def test_the_object_store_serves_tls_from_its_certificate_folder(
    start: Start, image_of: Callable[[Recipe], str], tls: Tls
) -> None:
    files = {
        "/certs/public.crt": tls.files["/run/lattice/tls.crt"],
        "/certs/private.key": tls.files["/run/lattice/tls.key"],
    }
    running = await start(
        Service(image_of(MINIO), 9000, ["server", "/data", "--certs-dir", "/certs"], files=files)
    )

    async def status() -> int:
        async with httpx.AsyncClient(verify=tls.context) as client:
            return (await client.get(f"https://127.0.0.1:{running.port}/minio/health/live")).status_code

    assert await until_answered(running, status, httpx.HTTPError) == 200


async def test_a_stand_in_for_minio_says_what_it_is(object_store: Running) -> None:
    image = (await object_store.container.show())["Config"]["Image"]
    labels = (
        json.loads(run(["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image])) or {}
    )
    log = "".join(await object_store.container.log(stdout=True))
    stands_in = image.startswith("lattice.local/")
    assert ("not MinIO" in labels.get("local.lattice.stand-in", "")) is stands_in
    assert ("stand-in for MinIO" in log) is stands_in


async def test_web_serves_a_page(start: Start, image_of: Callable[[Recipe], str]) -> None:
    running = await start(Service(image_of(WEB), 80))

    async def page() -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{running.port}/")

    answer = await until_answered(running, page, httpx.HTTPError)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
