"""`deploy` and `run`: two ways of writing a workload's spec, one way of sending it and watching it start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, WaitOption, command
from cli.errors import usage
from cli.session import Session
from cli.setters import TemplateSchema, apply_sets

Json = dict[str, Any]
DEPLOY_TIMEOUT = "5m"
NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="The workload's name.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value of the template or a field of the spec; @FILE reads a file.",
    ),
]
AdoptOption = Annotated[
    bool, typer.Option("--adopt", help="Take over the volumes that a workload of this name left.")
]


def register(app: typer.Typer) -> None:
    command(app, "deploy", example="lattice deploy postgres --name orders-db --set version=16")(deploy)
    command(app, "run", example=_RUN_EXAMPLE)(run)


_RUN_EXAMPLE = """lattice run nginx:1.27 --name web -p 80
lattice run ghcr.io/acme/api:1.4 --name api -p 8080 -e TZ=UTC -- serve --fast"""


def deploy(
    session: Session,
    template: Annotated[str, typer.Argument(help="From `lattice template ls`.")],
    *,
    name: NameOption,
    public: Annotated[
        bool, typer.Option("--public", help="Give its ports public addresses, reached from any network.")
    ] = False,
    sets: SetOption = None,
    adopt: AdoptOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = DEPLOY_TIMEOUT,
) -> None:
    """Deploy a workload from a template of the catalogue."""
    entry = template_of(session, template) if sets or public else None
    written: Json = {"name": name, "template": template}
    if entry is not None and public:
        written["ports"] = [
            {key: port[key] for key in ("name", "port", "protocol")} | {"public": True}
            for port in entry["ports"]
        ]
    spec = with_sets(written, sets or (), schema=_schema(entry) if entry is not None else None)
    create(session, spec, project=session.project, adopt=adopt, wait=wait, timeout=timeout)


def run(
    session: Session,
    image: Annotated[str, typer.Argument(help="The image, such as nginx:1.27.")],
    argv: Annotated[list[str] | None, typer.Argument(metavar="[-- CMD ARG...]", show_default=False)] = None,
    *,
    name: NameOption,
    ports: Annotated[
        list[str] | None,
        typer.Option(
            "--port", "-p", metavar="[NAME:]PORT[/tcp|/tls]", help="A port the container listens on."
        ),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable.")
    ] = None,
    secrets: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="KEY=NAME", help="A variable filled from a secret."),
    ] = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option("--volume", "-v", metavar="NAME:/PATH[:SIZE]", help="A volume that stays."),
    ] = None,
    cpu: Annotated[str | None, typer.Option(metavar="CORES", help="At most this much, such as 0.5.")] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="At most this much, such as 512Mi.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="How many instances.", show_default=False)] = None,
    restart: Annotated[str | None, typer.Option(metavar="always|on-failure|never")] = None,
    pull: Annotated[str | None, typer.Option(metavar="missing|always|never")] = None,
    pull_secret: Annotated[
        str | None, typer.Option(metavar="NAME", help="A secret USER:PASSWORD for the registry.")
    ] = None,
    health_http: Annotated[
        str | None, typer.Option(metavar="PORT/PATH", help="Healthy when a GET answers 2xx or 3xx.")
    ] = None,
    health_tcp: Annotated[
        str | None, typer.Option(metavar="PORT", help="Healthy when the port accepts.")
    ] = None,
    liveness_http: Annotated[
        str | None,
        typer.Option(metavar="PORT/PATH", help="Restarted when a GET fails three times in a row."),
    ] = None,
    liveness_tcp: Annotated[
        str | None,
        typer.Option(metavar="PORT", help="Restarted when the port accepts nothing three times in a row."),
    ] = None,
    public: Annotated[
        bool,
        typer.Option("--public", help="Give its ports public addresses, reached from any network."),
    ] = False,
    domains: Annotated[
        list[str] | None,
        typer.Option(
            "--domain", metavar="NAME", help="A domain of your own for its first port; with --public."
        ),
    ] = None,
    links: Annotated[
        list[str] | None,
        typer.Option(
            "--link",
            metavar="WORKLOAD[:NAME]",
            help="Another workload, reached by that name inside, on whatever node it is.",
        ),
    ] = None,
    sets: SetOption = None,
    adopt: AdoptOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = DEPLOY_TIMEOUT,
) -> None:
    """Run a container image."""
    from cli import run_options

    published = run_options.read_ports(ports or ())
    written = {
        "name": name,
        "image": image,
        "command": argv,
        "ports": run_options.opened(published, public=public, domains=domains or ()),
        "env": run_options.read_pairs(env or (), option="-e"),
        "secrets": run_options.read_secrets(secrets or ()),
        "links": run_options.read_links(links or ()),
        "volumes": [run_options.read_volume(volume) for volume in volumes or ()],
        "resources": run_options.read_resources(cpu=cpu, memory=memory),
        "health": run_options.read_check("health", http=health_http, tcp=health_tcp, ports=published),
        "liveness": run_options.read_check("liveness", http=liveness_http, tcp=liveness_tcp, ports=published),
        "replicas": replicas,
        "restart": run_options.given(policy=restart),
        "pull": pull,
        "pull_secret": pull_secret,
    }
    spec = with_sets(run_options.without_empty(written), sets or (), schema=None)
    create(session, spec, project=session.project, adopt=adopt, wait=wait, timeout=timeout)


def with_sets(spec: Json, sets: Sequence[str], *, schema: TemplateSchema | None) -> Json:
    """`spec` with the --set options put in."""
    if not sets:
        return spec
    from cli.yaml_files import read_text
    from lattice.contracts.spec import WorkloadSpec

    return apply_sets(
        spec, sets, schema=schema, known_fields=tuple(WorkloadSpec.model_fields), read_file=read_text
    )


def template_of(session: Session, template: str) -> Json:
    """An entry of the catalogue."""
    templates = {entry["name"]: entry for entry in session.client.get(path_of("templates"))["items"]}
    if template not in templates:
        raise usage(f"There is no template {template!r}.", todo=f"use one of {', '.join(templates)}")
    return dict(templates[template])


def schema_of(session: Session, template: str) -> TemplateSchema:
    """What the values of a template may be."""
    return _schema(template_of(session, template))


def _schema(entry: Json) -> TemplateSchema:
    properties = entry["values_schema"].get("properties") or {}
    return TemplateSchema(template=entry["name"], properties=properties)


def create(session: Session, spec: Json, *, project: str, adopt: bool, wait: bool, timeout: str) -> None:
    """Sends the spec and, if asked to, watches the workload start."""
    from cli import waiting
    from cli.progress import finish
    from cli.times import parse_duration_s

    parse_duration_s(timeout)  # a wrong one must not be found out after the workload was made
    answer = session.client.post(path_of("workloads"), spec, project=project, adopt=adopt or None)
    name = str(spec.get("name"))
    finish(session, answer, what=f"Deploying {name}", wait=wait, timeout=timeout)
    if not wait:
        if not session.screen.data(answer):
            session.screen.say(f"{name} was accepted: operation {answer['operation']['id']}.")
        session.screen.hint(f"lattice op wait {answer['operation']['id']}", f"lattice show {name}")
        return
    workload = session.client.get(path_of("workloads", name), project=project)
    if not session.screen.data(workload):
        _report(session, workload)
    if workload["state"] == "failed":  # it was up for a while, and has ended since
        raise waiting.ended_badly(workload)


def _report(session: Session, workload: Json) -> None:
    from cli import job_text
    from cli.workload_text import first_url, nodes_of

    name, url, nodes = workload["name"], first_url(workload), nodes_of(workload)
    if job_text.is_job(workload):
        session.screen.say(job_text.accepted_line(workload, where=nodes, now=session.screen.now()))
        session.screen.hint(f"lattice job runs {name}", f"lattice job run {name}")
        return
    session.screen.say(f"{name} is {workload['state']}{f' on {nodes}' if nodes else ''}.")
    if url:
        session.screen.say(url)
    credentials = (
        f"lattice credentials {name}" if workload["spec"].get("template") else f"lattice show {name}"
    )
    session.screen.hint(credentials, f"lattice logs {name} -f")
