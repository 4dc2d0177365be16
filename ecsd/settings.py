"""Settings of daemons: default < TOML file < environment variable < command line, frozen once they are read.

Settings are the fields of one frozen attrs class, made by `setting`. A field `runs_folder` is `runs-folder` (or
`runs_folder`) in the file, `ECS_RUNS_FOLDER` in the environment and `--runs-folder` on the command line. A value knows
where it came from. A setting that may be given several times is a list in the file, is separated by blanks in the
environment, and is repeated on the command line; the stronger source replaces the whole list.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from libecs.errors import EcsError, InvalidInput, NotFound, UsageError, quoted
from libecs.io.version import version as version
from libecs.language.duration import parse_duration

T = TypeVar("T")
PREFIX: Final = "ECS_"
_KEY: Final = "setting"

Read = Callable[[str], Any]
"""Makes a value of a text. Raises InvalidInput with what is wrong, not where."""
Environment = Mapping[str, str]


@attrs.frozen(kw_only=True)
class Setting:
    """What is known of one setting beside its default."""

    help: str
    metavar: str
    read: Read
    many: bool
    computed: Callable[[Environment], tuple[Any, str]] | None


def text(value: str) -> str:
    """Take a text as it is."""
    return value


def whole(value: str) -> int:
    """Read a whole number that is not negative."""
    if not re.fullmatch(r"[0-9]{1,15}", value):
        raise InvalidInput(f"{quoted(value)} is no whole number")
    return int(value)


def number(value: str) -> float:
    """Read a number that is not negative."""
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", value):
        raise InvalidInput(f"{quoted(value)} is no number")
    return float(value)


def flag(value: str) -> bool:
    """Read a truth value."""
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if value.lower() not in known:
        raise InvalidInput(f"{quoted(value)} is neither true nor false")
    return known[value.lower()]


def path(value: str) -> Path:
    """Read a path; `~` is the user's folder."""
    if not value or "\0" in value:
        raise InvalidInput(f"{quoted(value)} is no path")
    return Path(value).expanduser().absolute()


def seconds(value: str) -> float:
    """Read a duration ("1h", "250ms", a number of seconds)."""
    return float(value) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) else parse_duration(value)


def one_of(*allowed: str) -> Read:
    """Return what reads one of some words."""

    def read(value: str) -> str:
        if value not in allowed:
            raise InvalidInput(f"{quoted(value)} is none of {', '.join(allowed)}")
        return value

    return read


def pair(value: str) -> tuple[str, str]:
    """Read `KEY=VALUE`."""
    key, equals, rest = value.partition("=")
    if not equals or not key:
        raise InvalidInput(f"{quoted(value)} is not KEY=VALUE")
    return key, rest


def setting(
    default: Any,
    help: str,
    *,
    read: Read = text,
    metavar: str = "",
    many: bool = False,
    computed: Callable[[Environment], tuple[Any, str]] | None = None,
) -> Any:
    """Make one setting, as a field of a frozen attrs class.

    Args:
        default: the value if nobody says one.
        help: one line for people.
        read: makes a value of a text; `flag` makes it an option that needs no value.
        metavar: what stands for the value in the help.
        many: it is a tuple, and may be given several times.
        computed: gives the default, and words for where it came from, out of the environment.
    """
    info = Setting(help=help, metavar=metavar, read=read, many=many, computed=computed)
    return attrs.field(default=default, metadata={_KEY: info})


@attrs.frozen(kw_only=True)
class Program:
    """Whose settings they are."""

    name: str
    summary: str
    """One line."""
    file: Path
    """TOML file that is read if it is there and no other is named."""
    version: str
    usage: str = ""
    """Further lines of the help."""


@attrs.frozen(kw_only=True)
class Loaded(Generic[T]):
    """Settings, and where each came from."""

    settings: T
    sources: Mapping[str, str]
    """Name of a field to words: `default`, `/etc/ecs/ecsd.toml:3`, `environment ECS_STATE`, `command line`."""


@attrs.frozen
class _Given:
    """One value that somebody gave: texts, as the setting may be given several times."""

    texts: tuple[str, ...]
    source: str


def fields_of(cls: type) -> dict[str, tuple[attrs.Attribute[Any], Setting]]:
    """Return the settings of a class by name, in their order."""
    return {field.name: (field, field.metadata[_KEY]) for field in attrs.fields(cls) if _KEY in field.metadata}


def load(program: Program, cls: type[T], arguments: Sequence[str], environment: Environment) -> Loaded[T]:
    """Read the settings of a program.

    Raises:
        UsageError: an option that is none, or one without its value.
        NotFound: the file that was named is not there.
        InvalidInput: a key or a value is wrong; the message says where it stands.
    """
    known = fields_of(cls)
    told = _from_arguments(known, arguments)
    named = told.pop("config", None)
    if named is None and f"{PREFIX}CONFIG" in environment:
        named = _Given((environment[f"{PREFIX}CONFIG"],), f"environment {PREFIX}CONFIG")
    file = path(named.texts[-1]) if named is not None else program.file
    given: dict[str, _Given] = {}
    given.update(_from_file(known, file, needed=named is not None))
    given.update(_from_environment(known, environment))
    given.update(told)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, (field, info) in known.items():
        if name in given:
            values[name], sources[name] = _value(name, info, given[name]), given[name].source
        elif info.computed is not None:
            values[name], sources[name] = info.computed(environment)
        else:
            values[name], sources[name] = field.default, "default"
    return Loaded(settings=cls(**values), sources=sources)


def _value(name: str, info: Setting, given: _Given) -> Any:
    try:
        read = [info.read(one) for one in given.texts]
    except EcsError as error:
        raise InvalidInput(f"{given.source}: {name}: {error.message}", hint=info.help) from None
    return tuple(read) if info.many else read[-1]


def _from_arguments(known: Mapping[str, tuple[Any, Setting]], arguments: Sequence[str]) -> dict[str, _Given]:
    found: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or (name not in known and name != "config"):
            raise UsageError(f"there is no option {quoted(option)}", hint=_meant(option, _options(known)))
        if not equals:
            if name in known and known[name][1].read is flag:
                value = "true"
            elif not rest:
                raise UsageError(f"{option} needs a value")
            else:
                value = rest.pop(0)
        found.setdefault(name, []).append(value)
    return {name: _Given(tuple(texts), f"command line --{name.replace('_', '-')}") for name, texts in found.items()}


def _options(known: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in [*known, "config", "show_settings", "json", "version", "help"]]


def _from_environment(known: Mapping[str, tuple[Any, Setting]], environment: Environment) -> dict[str, _Given]:
    found = {}
    for name, (_, info) in known.items():
        variable = f"{PREFIX}{name.upper()}"
        if variable in environment:
            value = environment[variable]
            found[name] = _Given(tuple(value.split()) if info.many else (value,), f"environment {variable}")
    return found


def _from_file(known: Mapping[str, tuple[Any, Setting]], file: Path, *, needed: bool) -> dict[str, _Given]:
    try:
        content = file.read_bytes().decode()
        document = tomllib.loads(content)
    except FileNotFoundError:
        if needed:
            raise NotFound(f"there is no settings file {file}") from None
        return {}
    except OSError as error:
        raise EcsError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: byte {error.start} is no UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        place = f"{file}:{at[1]}:{at[2]}" if at else str(file)
        raise InvalidInput(f"{place}: {re.sub(r' *[(]at .*[)]$', '', str(error))}") from None
    found = {}
    for key, value in document.items():
        name, place = key.replace("-", "_"), f"{file}:{_line(content, key)}"
        if name not in known:
            raise InvalidInput(f"{place}: there is no setting {quoted(key)}", hint=_meant(name, list(known)))
        found[name] = _Given(tuple(_texts(value, known[name][1], f"{place}: {key}")), place)
    return found


def _line(content: str, key: str) -> int:
    """Return the line, counted from 1, at which a top-level key is set; 1 if it can't be found."""
    pattern = rf"""(?m)^[ \t]*(\[[ \t]*)?["']?{re.escape(key)}["']?[ \t]*[=.\]]"""
    found = re.search(pattern, content)
    return content.count("\n", 0, found.start()) + 1 if found else 1


def _texts(value: Any, info: Setting, place: str) -> Iterator[str]:
    """Return a value of TOML as texts, as they would stand on the command line."""
    if isinstance(value, list) and info.many:
        for one in value:
            yield _text(one, place)
    elif isinstance(value, dict) and info.many:
        for key, one in value.items():
            yield f"{key}={_text(one, place)}"
    else:
        yield _text(value, place)


def _text(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise InvalidInput(f"{place}: a {type(value).__name__} cannot stand here")


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.75)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"


# showing


def shown(value: Any) -> Any:
    """Return a value as it is shown: plain, and the same that could be given."""
    if isinstance(value, tuple):
        if len(value) == 2 and all(isinstance(one, (str, int)) for one in value):
            return "=".join(map(str, value)) if isinstance(value[0], str) else "-".join(map(str, value))
        return [shown(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def show(loaded: Loaded[Any], *, as_json: bool) -> str:
    """Return all settings with their sources, as a table or as JSON."""
    names = list(fields_of(type(loaded.settings)))
    if as_json:
        document = {name: {"value": _shown(loaded, name), "source": loaded.sources[name]} for name in names}
        return json.dumps(document, indent=1, ensure_ascii=False)
    rows = []
    for name in names:
        value = _shown(loaded, name)
        word = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        word = word.lower() if isinstance(value, bool) else word
        rows.append((name, word if word and value is not None else "-", loaded.sources[name]))
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{wide[0]}}  {value:<{wide[1]}}  {source}" for name, value, source in rows)


def _shown(loaded: Loaded[Any], name: str) -> Any:
    value = getattr(loaded.settings, name)
    if fields_of(type(loaded.settings))[name][1].many:
        return [shown(one) for one in value]
    return shown(value)


def options_help(cls: type) -> str:
    """Return the lines of the help that tell of the options."""
    rows = [("--config FILE", "TOML file to read instead of the usual one.")]
    for name, (_, info) in fields_of(cls).items():
        option = f"--{name.replace('_', '-')}"
        if info.read is not flag:
            option += f" {info.metavar or name.upper()}"
        rows.append((option, info.help + (" May be repeated." if info.many else "")))
    rows += [
        ("--show-settings [--json]", "Print each setting and where it came from, and end."),
        ("--version", "Print the version, and end."),
        ("-h, --help", "Print this, and end."),
    ]
    wide = max(len(option) for option, _ in rows)
    return "\n".join(f"  {option:<{wide}}  {words}" for option, words in rows)


def table(cls: type) -> str:
    """Return the settings of a program as a Markdown table, for the documents."""
    lines = [
        "| file | environment | command line | default | what |",
        "|---|---|---|---|---|",
    ]
    for name, (field, info) in fields_of(cls).items():
        default = shown(field.default) if field.default is not None else ""
        word = " ".join(map(str, default)) if isinstance(default, list) else str(default)
        word = word.lower() if isinstance(default, bool) else word
        option = f"--{name.replace('_', '-')}" + ("" if info.read is flag else f" {info.metavar or name.upper()}")
        what = info.help + (" May be repeated." if info.many else "")
        cells = [f"`{name}`", f"`{PREFIX}{name.upper()}`", f"`{option}`", f"`{word}`" if word else "", what]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


# the beginning of a program


def run(
    program: Program,
    cls: type[T],
    arguments: Sequence[str],
    start: Callable[[Loaded[T]], int],
    *,
    environment: Environment | None = None,
    complete: Callable[[Loaded[T]], Loaded[T]] | None = None,
) -> int:
    """Read the settings, do what `--help`, `--version` and `--show-settings` ask for, or start; return the exit code.

    Errors are printed to stderr as people are shown them. `complete` adds what the program knows from elsewhere.
    """
    words = list(arguments)
    asked = {word for word in words if word in ("-h", "--help", "--version", "--show-settings", "--json")}
    words = [word for word in words if word not in asked]
    if asked & {"-h", "--help"}:
        print(f"Usage: {program.name} [OPTIONS]\n\n{program.summary}\n{program.usage}\n{options_help(cls)}")
        return 0
    if "--version" in asked:
        print(f"{program.name} {program.version}")
        return 0
    try:
        loaded = load(program, cls, words, os.environ if environment is None else environment)
        if complete is not None:
            loaded = complete(loaded)
        if "--show-settings" in asked:
            print(show(loaded, as_json="--json" in asked))
            return 0
        return start(loaded)
    except EcsError as error:
        print(error.shown(), file=sys.stderr)
        return error.exit_code
