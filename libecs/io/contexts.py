"""Which core a client talks to: contexts, environment variables, and the core of this machine.

$XDG_CONFIG_HOME/ecs/contexts.toml     current = "p2"
                                       [context.p2]
                                       endpoint = "tcp://head:47102"
                                       core_key = "…40 characters…"
                                       next_core_key = "…"             # while the core is about to get another one
                                       key_file = "keys/p2.key"        # seen from the folder of this file

Whoever asks for no context by name gets, in this order: `$ECS_CONTEXT`; `$ECS_CORE` with `$ECS_KEY_FILE` and
`$ECS_CORE_KEY`; the current one of the file; the core that this user runs on this machine (context `local`, by the
`client.toml` that a core writes into its state). Importing this is cheap: shells do it to complete names.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from libecs.errors import EcsError, InvalidInput, NotFound, UsageError

LOCAL = "local"
"""The context of the core that this user runs on this machine."""
PORT = 47102
"""Where a core listens if nobody says otherwise."""
_TCP = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s:/\[\]@]+):(?P<port>[0-9]{1,5})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FIELDS = ("endpoint", "core_key", "next_core_key", "key_file")


@attrs.frozen(kw_only=True)
class Context:
    """One core, and the key that one shows it."""

    name: str
    """"" = it was named by its address."""
    endpoint: str
    core_key: str = ""
    """Public key of the core, z85. "" = it speaks without keys (`--insecure`)."""
    next_core_key: str = ""
    """The one that it said it will have after that; "" = none."""
    key_file: Path | None = None
    source: str = ""
    """Where this is from, in words."""


@attrs.frozen(kw_only=True)
class Contexts:
    """What is in the file of contexts."""

    current: str = ""
    contexts: Mapping[str, Context] = attrs.field(factory=dict)


def config_folder() -> Path:
    """Return `$XDG_CONFIG_HOME/ecs`."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "ecs"


def contexts_path() -> Path:
    """Return the file of contexts, which need not exist."""
    return config_folder() / "contexts.toml"


def default_key_file(context: str) -> Path:
    """Return where `coconut login` keeps the key of a context."""
    return config_folder() / "keys" / f"{context}.key"


def core_state_folder() -> Path:
    """Return where a core keeps its state if it is told nothing: `/var/lib/ecs/core`, or the user's own."""
    return Path("/var/lib/ecs/core") if os.geteuid() == 0 else _xdg("XDG_STATE_HOME", ".local/state") / "ecs" / "core"


def is_loopback(endpoint: str) -> bool:
    """Return whether an address is one of this machine that nobody else can take."""
    if endpoint.startswith("ipc://"):
        return True
    host = endpoint.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, perhaps one that begins with 127
        return False


def read_endpoint(text: str) -> str:
    """Return the address of a core, as it stands. Raises UsageError if it is none."""
    if text.startswith("ipc://") and len(text) > len("ipc://"):
        return text
    found = _TCP.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        rest = text.partition("://")[2] or text
        likely = next((f"tcp://{one}" for one in (rest, f"{rest}:{PORT}") if _TCP.fullmatch(f"tcp://{one}")), "")
        likely = likely if likely and likely != text else f"tcp://HOST:{PORT}"
        raise UsageError(f"{text!r} is no address of a core", hint=f"write {likely}")
    return text


def read_contexts() -> Contexts:
    """Return the contexts of the file; none if there is no file.

    Raises:
        InvalidInput: it is no TOML, or something in it has no meaning; with the place.
        EcsError: it can't be read.
    """
    path = contexts_path()
    document = _read(path)
    if document is None:
        return Contexts()
    for key in document:
        if key not in ("current", "context"):
            raise InvalidInput(f"{path}: {key!r} means nothing here", hint=_meant(key, ("current", "context")))
    tables = document.get("context", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidInput(f"{path}: `context` holds tables", hint='write [context.NAME] and below it endpoint = "…"')
    current = document.get("current", "")
    if not isinstance(current, str):
        raise InvalidInput(f"{path}: `current` is the name of a context, as a text")
    return Contexts(
        current=current,
        contexts={name: _context(name, table, path, f"[context.{name}] in {path}") for name, table in tables.items()},
    )


def choose(name: str = "") -> Context:
    """Return the context of a name or address, or the one that holds if none is named.

    Args:
        name: name of a context, address of a core (`tcp://host:port`), or path of its state folder (with a `/`).

    Raises:
        NotFound: no such context, or nothing says which core.
        UsageError: environment variables contradict each other, or an address is none.
        InvalidInput: a file is wrong.
    """
    context = _chosen(name)
    try:
        read_endpoint(context.endpoint)
    except UsageError as error:
        raise UsageError(f"{error.message} ({context.source})", hint=error.hint) from None
    return context


def _chosen(name: str) -> Context:
    if "://" in name:
        return Context(name="", endpoint=name, source="its address")
    if "/" in name:
        return _of_state(Path(name).expanduser(), "")
    if name:
        return _named(name, "")
    if named := os.environ.get("ECS_CONTEXT", ""):
        return _named(named, " ($ECS_CONTEXT)")
    if os.environ.get("ECS_CORE"):
        return _of_variables()
    contexts = read_contexts()
    if contexts.current:
        return _named(contexts.current, f" (`current` in {contexts_path()})")
    try:
        return _of_state(core_state_folder(), LOCAL)
    except NotFound:
        known = f"contexts are {', '.join(contexts.contexts)}: " if contexts.contexts else ""
        raise NotFound(
            f"no core is chosen, and none of yours runs here: there is no {core_state_folder() / 'client.toml'}",
            hint=f"{known}coconut context use NAME"
            if known
            else "coconut login TOKEN, or ECS_CORE=tcp://host:47102; libecs.local() and --local need no core",
        ) from None


def save_context(context: Context, *, current: bool | None = None) -> None:
    """Write a context into the file, in the place of one of its name.

    Args:
        context: has a name; its `source` is not kept.
        current: make it the current one; None: if there is none.

    Raises:
        UsageError: the name is none.
        InvalidInput: the file is wrong.
        EcsError: it can't be written.
    """
    if not _NAME.fullmatch(context.name):
        raise UsageError(f"{context.name!r} is no name for a context", hint="letters, digits, '.', '_' and '-'")
    with _changing():
        _save(context, current)


def _save(context: Context, current: bool | None) -> None:
    known = read_contexts()
    chosen = context.name if current or (current is None and not known.current) else known.current
    _write(Contexts(current=chosen, contexts={**known.contexts, context.name: context}))


def pin(context: Context, core_key: str, next_core_key: str) -> bool:
    """Write down that the core of a context has, or will have, another key.

    Return False if that is no use, because the key that is known comes from elsewhere: an environment variable, or the
    program. A context of `client.toml` needs nothing: the core writes that itself.

    Raises:
        InvalidInput: the file is wrong.
        EcsError: it can't be written.
    """
    if Path(context.source).name == "client.toml":
        return True
    with _changing():
        return _pin(context, core_key, next_core_key)


def _pin(context: Context, core_key: str, next_core_key: str) -> bool:
    known = read_contexts()
    now = known.contexts.get(context.name)
    if now is None or now.endpoint != context.endpoint:
        return False
    if not now.core_key or now.core_key not in (context.core_key, context.next_core_key, core_key):
        return False  # somebody has logged in anew, or keys are in the program alone
    pinned = attrs.evolve(now, core_key=core_key, next_core_key=next_core_key)
    if pinned != now:
        _write(attrs.evolve(known, contexts={**known.contexts, context.name: pinned}))
    return True


def use_context(name: str) -> None:
    """Make a context the current one. Raises NotFound, InvalidInput, EcsError."""
    with _changing():
        known = read_contexts()
        if name != LOCAL:
            _named(name, "")
        _write(attrs.evolve(known, current="" if name == LOCAL and name not in known.contexts else name))


def remove_context(name: str) -> Context:
    """Forget a context and return it; its key file stays. Raises NotFound, InvalidInput, EcsError."""
    with _changing():
        known = read_contexts()
        context = known.contexts.get(name)
        if context is None:
            raise _unknown(name, "", known)
        left = {one: value for one, value in known.contexts.items() if one != name}
        _write(Contexts(current="" if known.current == name else known.current, contexts=left))
    return context


@contextlib.contextmanager
def _changing() -> Iterator[None]:
    """Keep others out between what we read and what we write: running programs pin keys at any time."""
    folder = contexts_path().parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EcsError(f"{contexts_path()} can't be written: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _named(name: str, why: str) -> Context:
    known = read_contexts()
    if name in known.contexts:
        return known.contexts[name]
    if name == LOCAL:
        return _of_state(core_state_folder(), LOCAL)
    raise _unknown(name, why, known)


def _unknown(name: str, why: str, known: Contexts) -> NotFound:
    hint = _meant(name, tuple(known.contexts)) if known.contexts else "there are none: coconut login TOKEN makes one"
    return NotFound(f"there is no context {name!r}{why} in {contexts_path()}", hint=hint)


def _of_variables() -> Context:
    core_key, key_file = os.environ.get("ECS_CORE_KEY", ""), os.environ.get("ECS_KEY_FILE", "")
    if bool(core_key) != bool(key_file):
        given, missing = ("ECS_CORE_KEY", "ECS_KEY_FILE") if core_key else ("ECS_KEY_FILE", "ECS_CORE_KEY")
        raise UsageError(
            f"{given} is set, and {missing} is not", hint="set both, or neither for a core without keys (--insecure)"
        )
    return Context(
        name="",
        endpoint=os.environ["ECS_CORE"],
        core_key=core_key,
        key_file=Path(key_file).expanduser() if key_file else None,
        source="$ECS_CORE",
    )


def _of_state(state: Path, name: str) -> Context:
    """Return what a core on this machine has written for its clients."""
    path = state / "client.toml"
    document = _read(path)
    if document is None:
        raise NotFound(f"there is no {path}: no core has this state, or it has never run", hint=f"ecsd --state {state}")
    return _context(name, document, path, str(path))


def _context(name: str, table: Mapping[str, object], path: Path, source: str) -> Context:
    for key, value in table.items():
        if key not in _FIELDS:
            raise InvalidInput(f"{source}: {key!r} means nothing here", hint=_meant(key, _FIELDS))
        if not isinstance(value, str):
            raise InvalidInput(f"{source}: {key} is a text")
    texts = {key: str(table.get(key, "")) for key in _FIELDS}
    if not texts["endpoint"]:
        raise InvalidInput(f"{source}: there is no endpoint", hint='endpoint = "tcp://host:47102"')
    if bool(texts["core_key"]) != bool(texts["key_file"]):
        raise InvalidInput(f"{source}: core_key and key_file go together", hint="coconut login TOKEN writes both")
    key_file = path.parent / Path(texts["key_file"]).expanduser() if texts["key_file"] else None
    return Context(
        name=name,
        endpoint=texts["endpoint"],
        core_key=texts["core_key"],
        next_core_key=texts["next_core_key"],
        key_file=key_file,
        source=source,
    )


def _read(path: Path) -> dict[str, object] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from None
    except OSError as error:
        raise EcsError(f"{path} can't be read: {error.strerror}") from error


def _write(contexts: Contexts) -> None:
    path = contexts_path()
    lines = [f"current = {_toml(contexts.current)}\n"] if contexts.current else []
    for name, context in contexts.contexts.items():
        lines.append(f"\n[context.{_toml(name)}]\nendpoint = {_toml(context.endpoint)}\n")
        if context.core_key:
            lines.append(f"core_key = {_toml(context.core_key)}\n")
        if context.next_core_key:
            lines.append(f"next_core_key = {_toml(context.next_core_key)}\n")
        if context.key_file is not None:
            lines.append(f"key_file = {_toml(_seen_from(path.parent, context.key_file))}\n")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.touch(mode=0o600)  # who can write it chooses which core we trust
        with temporary.open("w", encoding="utf-8") as file:
            file.write("".join(lines))
            file.flush()
            os.fsync(file.fileno())  # programs write it by themselves: a loss of power must not leave it empty
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise EcsError(f"{path} can't be written: {error.strerror}") from error


def _seen_from(folder: Path, path: Path) -> str:
    path = path.expanduser()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path.absolute())


def _toml(text: str) -> str:
    # What JSON writes of a text TOML reads too, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _xdg(variable: str, otherwise: str) -> Path:
    folder = os.environ.get(variable, "")
    return Path(folder) if folder.startswith("/") else Path.home() / otherwise


def _meant(wanted: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(wanted, names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
