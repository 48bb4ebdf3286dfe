"""What one command works with: its options, the environment, the platform it talks to, and where it prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cli.context import ContextBook, Endpoint, choose, load_book, local_platform
from cli.output import OutputFormat, Screen
from cli.settings import Environment

if TYPE_CHECKING:
    from cli.client import Client

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Options:
    """Options that every command has; they may stand before or after the command."""

    output: OutputFormat | None = None
    quiet: bool = False
    project: str | None = None

    def over(self, outer: Options) -> Options:
        """These options, with those given before the command filling the gaps."""
        return Options(
            output=self.output or outer.output,
            quiet=self.quiet or outer.quiet,
            project=self.project or outer.project,
        )


class Session:
    """One run of one command."""

    def __init__(self, options: Options, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    @property
    def project(self) -> str:
        return self.options.project or self.environment.project or DEFAULT_PROJECT

    @cached_property
    def screen(self) -> Screen:
        """With -q and no format, the names alone."""
        plain = OutputFormat.NAME if self.options.quiet else OutputFormat.TABLE
        return Screen(self.options.output or plain, quiet=self.options.quiet)

    @cached_property
    def client(self) -> Client:
        return self.client_for(self.endpoint())

    def client_for(self, endpoint: Endpoint) -> Client:
        """A client of another platform than the chosen one: for signing in."""
        from cli.client import Client  # httpx takes 0.16 s to import: not before a command needs it

        return Client(endpoint)

    def book(self) -> ContextBook:
        return load_book(self.environment.contexts_file)

    def endpoint(self) -> Endpoint:
        return choose(self.environment, self.book(), local_platform(self.environment.data_dir))
