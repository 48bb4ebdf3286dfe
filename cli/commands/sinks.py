"""`alerts …sink…`: where people are told of alerts, and what was told to whom."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client_paths import path_of
from cli.command import command
from cli.session import Session

SinkArgument = Annotated[str, typer.Argument(metavar="SINK", help="A sink's name.")]


def register(alerts: typer.Typer) -> None:
    command(alerts, "sinks", in_project=False)(list_sinks)
    example = "lattice alerts add-sink team slack://… --min-severity warning"
    command(alerts, "add-sink", example=example)(add_sink)
    command(alerts, "test-sink", in_project=False, example="lattice alerts test-sink team")(test_sink)
    command(alerts, "rm-sink", in_project=False)(remove_sink)
    command(alerts, "deliveries", in_project=False)(deliveries)


def list_sinks(session: Session) -> None:
    """List where people are told of alerts."""
    from cli.alert_text import SINK_COLUMNS

    session.screen.listing(
        session.client.get(path_of("sinks")),
        SINK_COLUMNS,
        empty="Nobody is told yet: `lattice alerts add-sink NAME URL` changes that.",
    )


def add_sink(
    session: Session,
    sink: SinkArgument,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="An address of Apprise: mailto://…, slack://…, discord://…, ntfy://…, json://… (a webhook); - reads it from stdin.",
        ),
    ],
    *,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="messages, alertmanager or heartbeat (asked every minute while alerts are watched).",
        ),
    ] = "messages",
    min_severity: Annotated[
        str,
        typer.Option(metavar="SEVERITY", help="Only what is at least so grave: critical, warning or info."),
    ] = "info",
) -> None:
    """Tell people somewhere of what happens from now on; with --project, of that project's alerts only."""
    from cli import asking

    body = {
        "name": sink,
        "kind": kind,
        "url": asking.secret(f"Address of {sink}") if url == "-" else url,
        "min_severity": min_severity,
    }
    project = session.options.project or session.environment.project
    made = session.client.post(path_of("sinks"), body | ({"project": project} if project else {}))
    if not session.screen.data(made):
        session.screen.say(f"{sink} is told of alerts from now on.")
        session.screen.hint(f"lattice alerts test-sink {sink}")


def test_sink(session: Session, sink: SinkArgument) -> None:
    """Send a test to a sink and say whether it arrived."""
    from cli.errors import CliError

    tested = session.client.post(path_of("sinks", sink, "test"))
    if session.screen.data(tested, name=sink):
        return
    if not tested["delivered"]:
        raise CliError(f"The test did not reach {sink}.", why=tested["problem"], todo="look at its address")
    session.screen.say(f"The test has reached {sink}.")


def remove_sink(session: Session, sink: SinkArgument) -> None:
    """Tell nobody there any more."""
    session.client.delete(path_of("sinks", sink))
    session.screen.say(f"{sink} is told nothing any more.")


def deliveries(
    session: Session,
    *,
    sink: Annotated[str | None, typer.Option(metavar="SINK", help="Only to this sink.")] = None,
) -> None:
    """List what was told to whom, newest first."""
    from cli.alert_text import DELIVERY_COLUMNS

    data = session.client.listing(path_of("deliveries"), sink=sink)
    session.screen.listing(data, DELIVERY_COLUMNS, empty="Nothing was told to anybody yet.")
