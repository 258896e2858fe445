"""The errors of a command: one line that names the object and the remedy."""

from typing import IO, Any

import click

from curation.cli.text import safe


class PluginError(click.ClickException):
    """An expected failure: printed to stderr without a traceback; the exit code is 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as kubectl prints its errors."""
        click.echo(f"error: {safe(self.message, multiline=True)}", file=file, err=True)


class BadInput(PluginError):
    """A file or an option that cannot be used, so that what was asked for was not even begun; the exit code is 2."""

    exit_code = 2


class Forbidden(PluginError):
    """403: RBAC or admission refused. ``said`` is the server's own message."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class Invalid(PluginError):
    """422 or 400: the schema, a CEL rule or admission refused the content. ``said`` is the server's own message."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class ChangedMeanwhile(Exception):
    """409: someone else wrote the object between our read and our write. Read again and decide again."""


class NotFound(PluginError):
    """There is no such object."""
