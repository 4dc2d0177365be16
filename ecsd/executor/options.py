"""The settings of `ecs-executord`."""

# ruff: noqa: RUF009 - `setting` makes a field, as attrs.field does

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ecsd import logs
from ecsd.settings import (
    Environment,
    Loaded,
    Program,
    Read,
    flag,
    number,
    one_of,
    pair,
    path,
    seconds,
    setting,
    version,
)
from libecs.errors import EcsError, InvalidInput, UsageError, quoted
from libecs.io.contexts import is_loopback
from libecs.io.corefile import next_core_key
from libecs.io.keyfile import CORE_FILE, NODE_KEY, KeyPair, check_key, read_key_file
from libecs.io.keys import check_name
from libecs.io.link import ClientCurve

PORT = 47102

PROGRAM = Program(
    name="ecs-executord",
    summary="The executor of one node: it starts and controls the tasks that its core places here.",
    file=Path("/etc/ecs/ecs-executord.toml"),
    version=version(),
    usage="       ecs-executord join TOKEN [--state DIR] [--node NAME]   make this machine a node of a core\n"
    "                                                              (TOKEN - : read it from stdin)\n",
)


def state_folder(environment: Environment) -> tuple[Path, str]:
    """Return the folder of the state if nobody names one, and why it is that."""
    if given := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given), "environment STATE_DIRECTORY"
    if os.geteuid() == 0:
        return Path("/var/lib/ecs/executor"), "default of root"
    home = environment.get("XDG_STATE_HOME", "")
    # The XDG specification wants relative paths ignored.
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return base / "ecs" / "executor", "default"


def host_name(_environment: Environment) -> tuple[str, str]:
    """Return the name of a node that nobody has named: that of its host, without the domain."""
    return socket.gethostname().partition(".")[0], "host name"


def core_endpoint(value: str) -> str:
    """Read `tcp://HOST:PORT`."""
    found = re.fullmatch(r"tcp://(\[[0-9a-fA-F:.%a-z]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if found is None or not 0 < int(found[2]) < 65536:
        raise InvalidInput(f"{quoted(value)} is no endpoint such as tcp://head:{PORT}")
    return value


def key(value: str) -> str:
    """Read a public key."""
    check_key(value)
    return value


def node_name(value: str) -> str:
    """Read the name of a node."""
    check_name(value)
    return value


def ports(value: str) -> tuple[int, int]:
    """Read `LOW-HIGH`, or one port."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", value)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < low <= high < 65536:
        raise InvalidInput(f"{quoted(value)} is no range of ports such as 30000-30999")
    return low, high


@attrs.frozen(kw_only=True)
class ExecutorOptions:
    """What `ecs-executord` is told."""

    state: Path = setting(
        None, "Folder of the state, kept over restarts.", read=path, metavar="DIR", computed=state_folder
    )
    core: str = setting("", "Where the core listens.", read=core_endpoint, metavar="ENDPOINT")
    core_key: str = setting("", "Public key of the core, which it must prove to have.", read=key, metavar="Z85")
    key: Path | None = setting(
        None, "File with this node's key pair; default: what join made.", read=path, metavar="FILE"
    )
    node: str = setting(
        "", "Name of this node; default: the host's.", read=node_name, metavar="NAME", computed=host_name
    )
    host: str = setting(
        "",
        "Where tasks of this node are reached; default: the address from which it reaches the core.",
        metavar="ADDRESS",
    )
    attribute: tuple[tuple[str, str], ...] = setting(
        (), "An attribute for constraints of templates.", read=pair, metavar="KEY=VALUE", many=True
    )
    ports: tuple[tuple[int, int], ...] = setting(
        (),
        "TCP ports for tasks; default: 200 that are free at the first start.",
        read=ports,
        metavar="LOW-HIGH",
        many=True,
    )
    cpus: float | None = setting(
        None, "CPUs for tasks, 0 = no limit; default: those that it may use.", read=number, metavar="N"
    )
    memory: float | None = setting(
        None, "Memory for tasks in MB, 0 = no limit; default: all of it.", read=number, metavar="MB"
    )
    user: str = setting("", "As whom tasks run that name no user; default: the executor's own, but never root.")
    allow_user: tuple[str, ...] = setting((), "A user that templates may name.", metavar="USER", many=True)
    max_orphan_time: float = setting(
        0.0,
        "How long tasks go on without an executor before they end by themselves; 0 = for ever.",
        read=seconds,
        metavar="DURATION",
    )
    shim: Path | None = setting(
        None, "The program ecs-shim, if it is not the installed one.", read=path, metavar="FILE"
    )
    log_level: str = setting(
        "info", f"How much is logged: {', '.join(logs.LEVELS)}.", read=one_of(*logs.LEVELS), metavar="LEVEL"
    )
    log_format: str = setting(
        "auto",
        "text, json or journal; auto: journal under systemd, else text.",
        read=one_of(*logs.FORMATS),
        metavar="FORMAT",
    )
    insecure: bool = setting(False, "The core asks for no keys: only for trials on one machine.", read=flag)


_OF_JOIN = ("core", "core_key", "key", "node")
_UNSAID = ("default", "host name")
"""Sources of what nobody has said."""


def with_joined(loaded: Loaded[ExecutorOptions]) -> Loaded[ExecutorOptions]:
    """Return settings with what `join` wrote into the state folder, where nobody has said anything else.

    Raises:
        InvalidInput: the file is damaged.
        EcsError: it can't be read.
    """
    settings = loaded.settings
    file = settings.state / CORE_FILE
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return loaded
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: {error}", hint="join the core again: ecs-executord join TOKEN") from None
    except OSError as error:
        raise EcsError(f"{file} cannot be read: {error.strerror}") from error
    readers: Mapping[str, Read] = {"core": core_endpoint, "core_key": key, "key": path, "node": node_name}
    changes: dict[str, Any] = {}
    for name in _OF_JOIN:
        if name in document and loaded.sources[name] in _UNSAID:
            try:
                changes[name] = readers[name](str(document[name]))
            except EcsError as error:
                raise InvalidInput(f"{file}: {name}: {error.message}") from None
    sources = {**loaded.sources, **dict.fromkeys(changes, str(file))}
    return Loaded(settings=attrs.evolve(settings, **changes), sources=sources)


def is_set_by_hand(loaded: Loaded[ExecutorOptions], name: str) -> bool:
    """Return whether a setting that `join` writes, too, is somebody's own, which wins over what is written."""
    return loaded.sources[name] not in (*_UNSAID, str(loaded.settings.state / CORE_FILE))


def curve_of(options: ExecutorOptions) -> ClientCurve | None:
    """Return the keys to show to the core, None with --insecure.

    Raises:
        UsageError: the settings do not say enough.
        EcsError: the key file can't be used.
    """
    if not options.core:
        raise UsageError("no core is named", hint="ecs-executord join TOKEN, with a token of: coconut node invite NAME")
    if options.insecure and not is_loopback(options.core):
        raise UsageError(
            f"--insecure is for a core on this machine, and {options.core} may be another one: whoever answers there "
            "would run what he likes here",
            hint="ecs-executord join TOKEN, with a token of: coconut node invite NAME",
        )
    if options.insecure:
        return None
    if not options.core_key:
        raise UsageError(
            f"the key of the core at {options.core} is not known",
            hint="ecs-executord join TOKEN, with a token of: coconut node invite NAME",
        )
    pair: KeyPair = read_key_file(options.key or options.state / NODE_KEY)
    next_server = next_core_key(options.state, options.core_key)
    return ClientCurve(public=pair.public, secret=pair.secret, server=options.core_key, next_server=next_server)
