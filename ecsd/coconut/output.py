"""What verbs print: data on stdout, messages on stderr, one JSON document with --json, and errors with their codes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, wraps
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import click

from ecsd.coconut.lazy import meant
from libecs.errors import EcsError, Missing, TemplateError, TransitionFailed, Unplaceable, UsageError

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -~])?")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_BUT_LINES = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
BATCH = 500
"""Lines that are written at once."""
LONG = 1_000
"""Rows: a JSON document with more of them stands on one line."""
FORMATS = ("table", "wide", "name", "json", "yaml")


class NotConfirmed(EcsError):
    """Somebody was asked, and said no."""

    code = "E_NOT_CONFIRMED"


class Column(NamedTuple):
    """One column of a table."""

    title: str
    text: Callable[[Row], str]
    wide: bool = False
    """Only with -o wide."""


class Output:
    """Where one verb prints."""

    def __init__(self, *, as_json: bool, quiet: bool = False, form: str = "", fields: str = "") -> None:
        self.form = "json" if as_json else form or "table"
        self.as_json = self.form in ("json", "yaml")
        """A document is wanted, nothing for people."""
        self.quiet = quiet
        self.compact = False
        """JSON on one line: there will be more of it."""
        self._fields = tuple(name.strip() for name in fields.split(",") if name.strip())

    @property
    def has_fields(self) -> bool:
        """Whether only some fields are wanted."""
        return bool(self._fields)

    def document(self, schema: str, fields: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print the result: the document with --json, the lines otherwise."""
        self.answer({"schema": f"ecs/{schema}/1", **fields}, lines)

    def answer(self, document: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print a document that has its schema already, or the lines."""
        if self.form == "json":
            indent = None if self.compact or _is_long(document) else 2
            click.echo(json.dumps(document, indent=indent, ensure_ascii=False))
        elif self.form == "yaml":
            import yaml  # only who asks for it pays

            click.echo(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True), nl=False)
        else:
            _print(harmless(line) for line in lines)

    def listing(self, document: Mapping[str, Any], key: str, columns: Sequence[Column], *, name: str = "name") -> None:
        """Print a list: the rows of `document[key]` as a table, as names, or as a document.

        Raises:
            UsageError: --fields names what the rows do not have.
        """
        rows: Sequence[Row] = document[key]
        if self._fields:
            known = [*dict.fromkeys(field for row in rows for field in row)]
            for field in self._fields:
                if rows and field not in known:
                    raise UsageError(
                        f"there is no field {field!r}{meant(field, known)}", hint=f"fields are {', '.join(known)}"
                    )
            rows = [{field: row.get(field) for field in self._fields} for row in rows]
            columns = [Column(field, partial(_plain_field, field)) for field in self._fields]
        if self.form == "name":
            _print(harmless(plain(row[name]), one_line=True) for row in document[key])
            return
        shown = [column for column in columns if self.form == "wide" or self._fields or not column.wide]
        table = [
            [column.title for column in shown],
            *([harmless(column.text(row), one_line=True) for column in shown] for row in rows),
        ]
        self.answer({**document, key: list(rows)}, aligned(table))

    def line(self, schema: str, fields: Mapping[str, Any], text: str) -> None:
        """Print one item of a stream: a JSON document on a line of its own with --json, the text otherwise."""
        if self.as_json:
            text = json.dumps({"schema": f"ecs/{schema}/1", **fields}, ensure_ascii=False)
        click.echo(text if self.as_json else harmless(text))

    def say(self, text: str) -> None:
        """Print a message for people, on stderr; nothing with --json or --quiet."""
        if not (self.as_json or self.quiet):
            click.echo(harmless(text), err=True)

    @property
    def live(self) -> bool:
        """Whether a screen that moves makes sense: a terminal that can, and somebody who looks."""
        dumb = os.environ.get("TERM", "") in ("", "dumb")
        return not (self.as_json or self.quiet or dumb) and sys.stderr.isatty()

    @property
    def colour(self) -> bool:
        """Whether colours are wanted (https://no-color.org)."""
        return self.live and not os.environ.get("NO_COLOR")

    @property
    def asks(self) -> bool:
        """Whether somebody is there who can be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool, typed: str = "") -> None:
        """Ask before something that can't be undone. Without a terminal nobody is asked: then the options decide.

        Args:
            question: what is about to be done.
            yes: it was said on the command line.
            typed: what has to be typed, instead of y.

        Raises:
            NotConfirmed: the answer is no.
        """
        if yes or not self.asks:
            return
        if typed:
            answer = click.prompt(f"{question}\ntype {typed} to go on", default="", show_default=False, err=True)
            agreed = answer.strip() == typed
        else:
            agreed = click.confirm(question, err=True)
        if not agreed:
            raise NotConfirmed("nothing was done: it was not confirmed", hint="--yes asks nothing")


def _is_long(document: Mapping[str, Any]) -> bool:
    """Whether a document is for programs alone: nobody reads it, and indenting takes three times as long."""
    return any(isinstance(value, list) and len(value) > LONG for value in document.values())


def _print(lines: Iterable[str]) -> None:
    """Print lines, many at once: a list of 100 000 tasks is not to be written in as many steps."""
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        click.echo("\n".join(batch))


def harmless(text: str, *, one_line: bool = False) -> str:
    """Return a text that commands no terminal: others wrote names, notes and logs, and may have meant to.

    Escape sequences are left out, other control characters shown as U+FFFD; line ends and tabs stay unless `one_line`.
    """
    if text.isprintable():
        return text
    return (_CONTROL if one_line else _BUT_LINES).sub("\ufffd", _ESCAPE.sub("", text))


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return rows as lines with columns, two blanks between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _plain_field(field: str, row: Row) -> str:
    return plain(row[field])


def plain(value: Any) -> str:
    """Return a value of a document for people: texts as they are, lists and maps in a few words."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(plain, value)) or "-"
    if isinstance(value, dict):
        return ",".join(f"{key}={plain(one)}" for key, one in value.items()) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def json_option(function: F) -> F:
    """Add --json and -o json|yaml."""
    function = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)
    return click.option(
        "-o", "--output", "form", type=click.Choice(("json", "yaml")), default=None, help="Form of the document."
    )(function)


def list_options(function: F) -> F:
    """Add --json, -o table|wide|name|json|yaml and --fields, for verbs that print lists."""
    function = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)
    function = click.option("--fields", default="", metavar="A,B", help="Only these fields, in this order.")(function)
    return click.option("-o", "--output", "form", type=click.Choice(FORMATS), default=None, help="Form of the list.")(
        function
    )


def lines_option(function: F) -> F:
    """Add --json for verbs that print streams."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines, one document each.")(function)


def verb(function: Callable[..., int | None]) -> Callable[..., int]:
    """Make errors leave the verb as they should: code, message, hint, and the exit status of their class."""

    @wraps(function)
    def run(*arguments: Any, as_json: bool, form: str | None = None, fields: str = "", **options: Any) -> int:
        output = Output(as_json=as_json, quiet=options.pop("quiet", False), form=form or "", fields=fields)
        as_json = output.as_json
        try:
            return function(*arguments, output=output, **options) or 0
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
        click.echo(harmless(error.shown() if sys.stderr.isatty() else f"{error.code}  {error}"), err=True)


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
