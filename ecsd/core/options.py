"""The settings of `ecsd`."""

# ruff: noqa: RUF009 - `setting` makes a field, as attrs.field does

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from ecsd import logs
from ecsd.settings import Environment, Program, flag, number, one_of, path, setting, version, whole
from libecs.errors import InvalidInput, UsageError, quoted
from libecs.io.contexts import core_state_folder, is_loopback

PORT = 47102
LOBBY_PORT = 47103

PROGRAM = Program(
    name="ecsd",
    summary="The core of an experiment control system: executors and clients dial it.",
    file=Path("/etc/ecs/ecsd.toml"),
    version=version(),
)


def state_folder(environment: Environment) -> tuple[Path, str]:
    """Return the folder of the state if nobody names one, and why it is that."""
    if given := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given), "environment STATE_DIRECTORY"
    return core_state_folder(), "default of root" if os.geteuid() == 0 else "default"


def endpoint(value: str) -> str:
    """Read `tcp://HOST:PORT`; HOST `*` = all addresses, PORT 0 = any free one."""
    found = re.fullmatch(r"tcp://(\*|\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5}|\*)", value)
    if found is None or (found[2] != "*" and int(found[2]) > 65535):
        raise InvalidInput(f"{quoted(value)} is no endpoint such as tcp://*:{PORT}")
    return value


def repository(value: str) -> tuple[str, str]:
    """Read `NAME=PLACE` or `PLACE`; the name is "" then."""
    name, equals, place = value.partition("=")
    if equals and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return name, place
    return "", value


def host_port(value: str) -> str:
    """Read `HOST:PORT`, `:PORT` or `PORT`; "" = none."""
    if value and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]:|[A-Za-z0-9._-]*:)?[0-9]{1,5}", value):
        raise InvalidInput(f"{quoted(value)} is not HOST:PORT")
    return value


@attrs.frozen(kw_only=True)
class CoreOptions:
    """What `ecsd` is told."""

    state: Path = setting(
        None, "Folder of the state, kept over restarts.", read=path, metavar="DIR", computed=state_folder
    )
    listen: tuple[str, ...] = setting(
        (f"tcp://*:{PORT}",),
        "Where executors and clients dial; port 0 = any free one.",
        read=endpoint,
        metavar="ENDPOINT",
        many=True,
    )
    lobby: str = setting(
        f"tcp://*:{LOBBY_PORT}",
        "Where those who were invited bring their keys; open only while somebody is invited.",
        read=endpoint,
        metavar="ENDPOINT",
    )
    advertise: str = setting(
        "", "Host name or address that invitations tell; default: this host's name.", metavar="HOST"
    )
    repository: tuple[tuple[str, str], ...] = setting(
        (),
        "Templates: a folder, a git repository or its address; the first one is the default.",
        read=repository,
        metavar="[NAME=]PLACE",
        many=True,
    )
    revision: str = setting("", "Branch, tag or commit of the default repository.")
    kv: Path | None = setting(
        None, "YAML file with configuration, runtime values and inventory.", read=path, metavar="FILE"
    )
    integrations: Path | None = setting(
        None, "YAML file that says what calls of integrations answer.", read=path, metavar="FILE"
    )
    run_counter: Path | None = setting(
        None, "File of the run counter; default: runs.sqlite in the state folder.", read=path, metavar="FILE"
    )
    runs_folder: Path | None = setting(
        None, "Gets a folder for each run; default: runs in the state folder.", read=path, metavar="DIR"
    )
    keep_events_days: float = setting(
        90.0, "Older events are forgotten, but for the last 10 000.", read=number, metavar="DAYS"
    )
    keep_runs: int = setting(
        10_000, "Records of older runs are forgotten by the core; their folders stay.", read=whole, metavar="N"
    )
    keep_metrics: int = setting(1_000, "Metrics of older runs are forgotten by the core.", read=whole, metavar="N")
    keep_audit_days: float = setting(
        400.0,
        "Files of the audit log whose lines are all older are removed, but for the last two; 0 = none is.",
        read=number,
        metavar="DAYS",
    )
    allow_scripts: bool = setting(
        False, "Operators too, not only admins, may bring workflows that are in no repository.", read=flag
    )
    client_rate: float = setting(
        500.0,
        "Messages a second that the clients of one key may send; more are answered E_BUSY. 0 = no limit.",
        read=number,
        metavar="N",
    )
    client_burst: int = setting(2_000, "Messages that they may send at once, after a pause.", read=whole, metavar="N")
    metrics: str = setting(
        "",
        "Serve Prometheus metrics here, on this machine unless a host is named.",
        read=host_port,
        metavar="HOST:PORT",
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
    insecure: bool = setting(False, "No keys at all: only on loopback addresses, for trials.", read=flag)


def check(options: CoreOptions) -> None:
    """Raise UsageError if what is told does not go together."""
    if options.insecure and (open_ones := [one for one in options.listen if not is_loopback(one)]):
        raise UsageError(
            f"without keys, {', '.join(open_ones)} would let anybody in",
            hint=f"leave out --insecure, or listen at tcp://127.0.0.1:{PORT}",
        )
