"""`alerts …`: what is wrong, who looks after it, and of what nobody wants to hear for now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.commands import sinks
from cli.session import Session

EVERY_PROJECT = "*"
AlertArgument = Annotated[str, typer.Argument(metavar="ALERT", help="An alert's id.")]
SilenceArgument = Annotated[str, typer.Argument(metavar="SILENCE", help="A silence's id.")]
NoteOption = Annotated[str, typer.Option("--note", metavar="TEXT", help="What to tell others about it.")]
ForOption = Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long: 30m, 2h, 7d.")]
WhyOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who find it.")]


def register(app: typer.Typer) -> None:
    alerts = group("alerts", summary="Alerts: what is wrong, and who looks after it.")
    app.add_typer(alerts)
    for name, function, example in (
        ("ls", list_alerts, "lattice alerts ls"),
        ("show", show, "lattice alerts show al-…"),
        ("watch", watch, "lattice alerts watch -o json"),
        ("ack", acknowledge, "lattice alerts ack al-… --note 'on my way'"),
        ("silence", silence, "lattice alerts silence al-… --for 2h --reason 'known, fixed tomorrow'"),
        ("resolve", resolve, "lattice alerts resolve al-…"),
        (
            "window",
            window,
            "lattice alerts window --entity attic --from 2026-03-01T22:00Z --for 2h --reason 'new disk'",
        ),
        ("silences", silences, ""),
        ("unsilence", unsilence, "lattice alerts unsilence si-…"),
    ):
        command(alerts, name, example=example)(function)
    sinks.register(alerts)


def _projects(session: Session) -> str:
    """The project that was named; nobody who names none wants to miss an alert."""
    return session.options.project or session.environment.project or EVERY_PROJECT


def list_alerts(
    session: Session,
    *,
    severity: Annotated[
        str | None, typer.Option(metavar="SEVERITY", help="Only critical, warning or info.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only alerts of this name.")] = None,
    resolved: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that are over, of the last 30 days.")
    ] = False,
) -> None:
    """List alerts, newest first; of every project, unless one is named."""
    from cli.alert_text import COLUMNS

    data = session.client.listing(
        path_of("alerts"),
        severity=severity,
        name=name,
        resolved=resolved or None,
        project=_projects(session),
    )
    session.screen.listing(data, COLUMNS, empty="Nothing is wrong.")


def show(session: Session, alert: AlertArgument) -> None:
    """Show an alert: what is known of it, who looks after it, where to read what to do."""
    _show(session, session.client.get(path_of("alerts", alert)))


def _show(session: Session, found: dict[str, Any]) -> None:
    from cli import alert_text

    if not session.screen.data(found):
        alert_text.show(session.screen, found)


def watch(session: Session) -> None:
    """Print what is wrong, then each alert that opens, changes or ends, until it is stopped."""
    from cli import alert_text

    alert_text.watch(session, _projects(session))


def acknowledge(session: Session, alert: AlertArgument, *, note: NoteOption = "") -> None:
    """Say that you look after an alert."""
    found = session.client.post(path_of("alerts", alert, "ack"), {"note": note})
    if not session.screen.data(found):
        session.screen.say(f"{found['name']} is looked after by {found['acknowledged_by']}.")


def resolve(session: Session, alert: AlertArgument, *, note: NoteOption = "") -> None:
    """Say that an alert is over.  Where it is not, it opens again once it was well, or when it happens another time."""
    found = session.client.post(path_of("alerts", alert, "resolve"), {"note": note})
    if not session.screen.data(found):
        session.screen.say(f"{found['name']} is over.")


def silence(session: Session, alert: AlertArgument, *, duration: ForOption, reason: WhyOption) -> None:
    """Tell nobody of an alert for a while, nor of the same one should it come back meanwhile."""
    from cli.times import parse_duration_s

    body = {"for_s": parse_duration_s(duration), "reason": reason}
    _say_silence(session, session.client.post(path_of("alerts", alert, "silence"), body))


def window(
    session: Session,
    *,
    duration: ForOption,
    reason: WhyOption,
    entity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Alerts of this node, workload or service.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Alerts of this name.")] = None,
    severity: Annotated[
        str | None, typer.Option(metavar="SEVERITY", help="Only critical, warning or info.")
    ] = None,
    begins: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="When it begins: a time, or in how long (2h); now, if it is not said.",
        ),
    ] = None,
) -> None:
    """Announce a maintenance window: nobody is told of the alerts that match all that is given; with --project, of that project's."""
    from cli.times import coming_moment, parse_duration_s

    body = {
        "entity": entity,
        "name": name,
        "severity": severity,
        "project": session.options.project or session.environment.project,
        "starts_at": coming_moment(begins, now=session.screen.now()) if begins else None,
        "for_s": parse_duration_s(duration),
        "reason": reason,
    }
    given = {key: value for key, value in body.items() if value is not None}
    _say_silence(session, session.client.post(path_of("silences"), given))


def _say_silence(session: Session, made: dict[str, Any]) -> None:
    from cli.times import to_the_second

    if session.screen.data(made):
        return
    begins = "" if made["active"] else f"from {to_the_second(made['starts_at'])} "
    session.screen.say(f"Nobody is told of it {begins}until {to_the_second(made['ends_at'])}.")
    session.screen.hint(f"lattice alerts unsilence {made['id']}")


def silences(session: Session) -> None:
    """List silences and maintenance windows that are not over."""
    from cli.alert_text import SILENCE_COLUMNS

    data = session.client.get(path_of("silences"), project=_projects(session))
    session.screen.listing(data, SILENCE_COLUMNS, empty="Nothing is silenced.")


def unsilence(session: Session, silence: SilenceArgument) -> None:
    """End a silence now, or call a window off: what is still wrong is told again."""
    ended = session.client.delete(path_of("silences", silence))
    if not session.screen.data(ended):
        session.screen.say(f"{silence} has ended.")
