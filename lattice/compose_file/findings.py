"""What is found while a compose file is read: what is wrong, what is not supported, and what people should know.

A `Place` is a part of the file: it knows where it is and where findings go.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about one place of the file.  `optional`: on request the file is applied without it."""

    steps: tuple[str | int, ...]
    detail: str
    optional: bool = False

    @property
    def path(self) -> str:
        """For people: `services.web.ports[0]`."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps).lstrip(
            "."
        )

    @property
    def pointer(self) -> str:
        """For machines, as RFC 6901 has it: `/services/web/ports/0`."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)

    @property
    def text(self) -> str:
        """`services.web.build: images are not built here; …`."""
        return f"{self.path}: {self.detail}" if self.path else self.detail


@dataclass(slots=True)
class Findings:
    """Collected over a whole file, in the order in which it is read."""

    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the file: `services.web.ports[0]`."""

    findings: Findings
    steps: tuple[str | int, ...] = ()

    def under(self, *steps: str | int) -> Place:
        """A part below this one."""
        return Place(self.findings, (*self.steps, *steps))

    def refuse(self, detail: str) -> None:
        """This cannot be accepted."""
        self.findings.problems.append(Finding(self.steps, detail))

    def unsupported(self, detail: str) -> None:
        """This is not honoured; the file can be applied without it when that is asked for."""
        self.findings.problems.append(Finding(self.steps, detail, optional=True))

    def note(self, detail: str) -> None:
        """This is honoured in a way that people should know."""
        self.findings.notes.append(Finding(self.steps, detail))
