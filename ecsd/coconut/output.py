"""What verbs print: data on stdout, messages on stderr, one JSON document with --json, and errors with their codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

import click

from libecs.errors import EcsError, Missing, TemplateError, TransitionFailed, Unplaceable

F = TypeVar("F", bound=Callable[..., Any])


class Output:
    """Where one verb prints."""

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def document(self, schema: str, fields: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print the result: the document with --json, the lines otherwise."""
        if self.as_json:
            click.echo(json.dumps({"schema": f"ecs/{schema}/1", **fields}, indent=2, ensure_ascii=False))
        else:
            for line in lines:
                click.echo(line)

    def say(self, text: str) -> None:
        """Print a message for people, on stderr; nothing with --json or --quiet."""
        if not (self.as_json or self.quiet):
            click.echo(text, err=True)

    @property
    def live(self) -> bool:
        """Whether a screen that moves makes sense: a terminal that can, and somebody who looks."""
        dumb = os.environ.get("TERM", "") in ("", "dumb")
        return not (self.as_json or self.quiet or dumb) and sys.stderr.isatty()

    @property
    def colour(self) -> bool:
        """Whether colours are wanted (https://no-color.org)."""
        return self.live and not os.environ.get("NO_COLOR")


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def verb(function: Callable[..., int | None]) -> Callable[..., int]:
    """Make errors leave the verb as they should: code, message, hint, and the exit status of their class."""

    @wraps(function)
    def run(*arguments: Any, as_json: bool, **options: Any) -> int:
        try:
            return (
                function(*arguments, output=Output(as_json=as_json, quiet=options.pop("quiet", False)), **options) or 0
            )
        except EcsError as error:
            say_error(error, as_json=as_json)
            return error.exit_code
        except BrokenPipeError:
            # Who reads has gone (`coconut … | head`): that is no failure, and nobody is there to be told.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            say("interrupted", code="E_INTERRUPTED", as_json=as_json)
            return 130

    return run


def error_document(error: EcsError) -> dict[str, Any]:
    """Return what `--json` tells of an error."""
    document: dict[str, Any] = {"code": error.code, "exit_code": error.exit_code, "message": error.message}
    if error.hint:
        document["hint"] = error.hint
    if isinstance(error, TransitionFailed):
        document["cause"] = error.cause
        document["failures"] = dict(error.failures)
    if isinstance(error, TemplateError):
        document |= {"file": error.file, "line": error.line, "column": error.column, "role": error.path}
    if isinstance(error, Unplaceable):
        document["reasons"] = dict(error.reasons)
    if isinstance(error, Missing):
        document["keys"] = list(error.keys)
    return document


def say_error(error: EcsError, *, as_json: bool) -> None:
    """Tell an error: what, where, why, next."""
    if as_json:
        click.echo(json.dumps({"error": error_document(error)}, indent=2, ensure_ascii=False))
    else:
        # Who reads from a pipe looks for whole lines; people want them folded.
        click.echo(error.shown() if sys.stderr.isatty() else f"{error.code}  {error}", err=True)


def say(text: str, *, code: str, as_json: bool) -> None:
    """Tell something that is no EcsError."""
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": text}}, indent=2, ensure_ascii=False))
    else:
        click.echo(text, err=True)


def say_usage(error: click.ClickException, *, as_json: bool) -> None:
    """Tell what was wrong with the command line, and where its help is."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "coconut"
    if as_json:
        document = {"code": "E_USAGE", "exit_code": 2, "message": message, "hint": f"{path} --help"}
        click.echo(json.dumps({"error": document}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"E_USAGE  {message}\n  next: {path} --help", err=True)
