"""`coconut doctor`: what is wrong here, at the core and on its nodes, and what helps."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.options import core_options
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import EcsError

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.io.contexts import Context

SKEW_MS = 200
"""Clocks that differ by more make times of records hard to compare."""
DISK_MB = 1000
"""Less room than this is too little for records and output."""
OPEN_FILES = 4096
CONNECT_S = 2.0
PACKAGES = ("msgspec", "msgpack", "pyzmq", "attrs", "click", "rich", "pygit2")
OTHER_LIBZMQ = (
    "import ctypes, ctypes.util as u; l = ctypes.CDLL(u.find_library('zmq') or 'libzmq.so.5'); "
    "v = [ctypes.c_int() for _ in range(3)]; l.zmq_version(*map(ctypes.byref, v)); "
    "print('.'.join(str(x.value) for x in v))"
)
"""Which libzmq a task in C gets: in a process of its own, for two copies need not like each other."""


@attrs.frozen(kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str
    fix: str = ""


@click.command(
    help="""Look for what is wrong: versions, key and core, clocks, disks, limits, nodes, repositories, damaged records.

    Each line says what was found, and if it is wrong, what helps. Exit status 1 if anything is.

    \b
    Examples:
      coconut doctor
      coconut doctor --context p2 --json
    """
)
@core_options
@json_option
@verb
def doctor(output: Output, **options: Any) -> int:
    """Look for what is wrong."""
    from ecsd.coconut.target import Target

    target = Target.of(options)
    checks = [*here()]
    if not target.local:
        checks += of_context(target.context)
    found: list[Check] = []

    async def work(ecs: AsyncEcs) -> None:
        found.extend(await of_core(ecs))

    try:
        target.run(work)
    except EcsError as error:
        found.append(Check(name="core", ok=False, text=error.message, fix=error.hint))
    checks += found
    ok = all(check.ok for check in checks)
    output.document("doctor", {"ok": ok, "checks": [attrs.asdict(check) for check in checks]}, _lines(checks))
    return 0 if ok else 1


def _lines(checks: list[Check]) -> Iterator[str]:
    for check in checks:
        yield f"{'✔' if check.ok else '✗'} {check.name}: {check.text}"
        if not check.ok and check.fix:
            yield f"    next: {check.fix}"
    wrong = sum(not check.ok for check in checks)
    yield f"{len(checks)} checks, {wrong} of them failed" if wrong else f"{len(checks)} checks, all is well"


# this machine


def here() -> Iterator[Check]:
    """Look at this machine and this installation."""
    import importlib.metadata
    import resource
    import sqlite3

    from ecsd.coconut.about import version
    from libecs.io.link import version as libzmq_version

    python = platform.python_version()
    yield Check(name="python", ok=sys.version_info >= (3, 11), text=python, fix="use Python 3.11 or newer")
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = ""
    missing = [package for package, found in installed.items() if not found]
    text = ", ".join(f"{package} {found}" for package, found in installed.items() if found)
    yield Check(
        name="libecs",
        ok=not missing,
        text=f"{version()}, {text}, SQLite {sqlite3.sqlite_version}" + (f"; missing: {missing}" if missing else ""),
        fix="pip install --force-reinstall libecs",
    )
    ours, theirs = libzmq_version(), _other_libzmq()
    yield Check(
        name="libzmq", ok=_number(ours) >= (4, 2), text=f"{ours} here, {theirs} for tasks in C", fix="libzmq 4.2"
    )
    yield _shim()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Check(
        name="open files",
        ok=hard == resource.RLIM_INFINITY or hard >= OPEN_FILES,
        text=f"{soft} now, {hard if hard != resource.RLIM_INFINITY else 'any number'} allowed",
        fix=f"ulimit -Hn {OPEN_FILES}, or LimitNOFILE= of the unit",
    )


def _shim() -> Check:
    from libecs.io.process import find_shim

    try:
        return Check(name="ecs-shim", ok=True, text=str(find_shim()))
    except EcsError as error:
        return Check(name="ecs-shim", ok=False, text=error.message, fix=error.hint)


def _other_libzmq() -> str:
    done = subprocess.run([sys.executable, "-c", OTHER_LIBZMQ], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() if done.returncode == 0 else "none"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


# the way to the core


def of_context(name: str | None) -> Iterator[Check]:
    """Look at the context and the key. What the core says of the key is the check `core`."""
    from libecs.io.contexts import choose

    try:
        context = choose(name or "")
    except EcsError as error:
        yield Check(name="context", ok=False, text=error.message, fix=error.hint)
        return
    yield Check(
        name="context", ok=True, text=f"{context.name or context.endpoint}: {context.endpoint}, from {context.source}"
    )
    yield _key(context)
    yield from _port(context.endpoint)


def _port(endpoint: str) -> Iterator[Check]:
    """Look whether the core's port is open. What speaks there, the check `core` says."""
    import socket

    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdecimal():
        return
    begin = time.perf_counter()
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        text = error.strerror or str(error) or type(error).__name__
        fix = f"is ecsd running on {host}? does a firewall let TCP {port} through?"
        yield Check(name=f"port {port}", ok=False, text=f"{host}: {text}", fix=fix)
        return
    yield Check(name=f"port {port}", ok=True, text=f"{host} is open, in {(time.perf_counter() - begin) * 1000:.1f} ms")


def _key(context: Context) -> Check:
    path = context.key_file
    if path is None:
        return Check(name="key", ok=True, text="none: the core must speak without keys, on this machine")
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        return Check(name="key", ok=False, text=f"{path}: {error.strerror}", fix="coconut login TOKEN")
    return Check(
        name="key",
        ok=not mode & 0o077,
        text=f"{path}" + (f" can be read by others ({mode:o})" if mode & 0o077 else ""),
        fix=f"chmod 600 {path}, and coconut key rotate if somebody may have read it",
    )


# the core


async def of_core(ecs: AsyncEcs) -> list[Check]:
    """Look at a core and all that it knows."""
    from ecsd.coconut.about import version

    before = time.time()
    info = await ecs.info()
    took = time.time() - before
    checks = [
        Check(
            name="core",
            ok=True,
            text=f"{info.instance} answers in {took * 1000:.1f} ms; you are {info.you or 'its owner'}, {info.role}",
        ),
        Check(
            name="version",
            ok=_number(info.version)[:2] == _number(version())[:2] or "unknown" in (info.version, version()),
            text=f"core {info.version}, this program {version()}",
            fix="install the same version on both sides",
        ),
        _clock("clock of the core", info.unix_ms - (before + took / 2) * 1000),
        *_disk("disk of the core", info.facts),
    ]
    if info.facts.get("insecure") not in (None, "", "0", "false", "no"):
        checks.append(
            Check(name="keys", ok=False, text="the core speaks without keys", fix="run ecsd without --insecure")
        )
    checks += [
        Check(name="problem", ok=False, text=problem, fix="see the core's log: journalctl -u ecsd")
        for problem in info.problems
    ]
    checks += await _nodes(ecs, info.version)
    checks += await _repositories(ecs)
    checks += await _left_over(ecs)
    return checks


def _clock(name: str, skew_ms: float) -> Check:
    return Check(
        name=name,
        ok=abs(skew_ms) <= SKEW_MS,
        text=f"{round(skew_ms):+d} ms off",
        fix="chronyc tracking; systemctl status chrony",
    )


def _disk(name: str, facts: Mapping[str, str]) -> Iterator[Check]:
    if "disk_free_mb" in facts:
        free = float(facts["disk_free_mb"])
        yield Check(
            name=name, ok=free >= DISK_MB, text=f"{free:.0f} MB free", fix="free some, or move the state folder"
        )


async def _nodes(ecs: AsyncEcs, version: str) -> list[Check]:
    nodes = await ecs.nodes()
    checks = []
    if not nodes:
        checks.append(Check(name="nodes", ok=False, text="none has come", fix="coconut node invite NAME"))
    for node in nodes:
        name = f"node {node.node}"
        if node.reach != "UP":
            heard = f", not heard for {node.age_ms / 1000:.1f} s" if node.age_ms else ""
            fix = f"on {node.host}: systemctl status ecs-executord"
            checks.append(Check(name=name, ok=False, text=f"{node.reach}{heard}", fix=fix))
            continue
        words = [f"{node.tasks} task{'s' * (node.tasks != 1)}"]
        if node.drained:
            words.append(f"drained: {node.reason}" if node.reason else "drained")
        checks.append(Check(name=name, ok=True, text=f"UP, {', '.join(words)}"))
        if "clock_skew_ms" in node.facts:
            skew = _clock(f"clock of {node.node}", float(node.facts["clock_skew_ms"]))
            checks += [skew] if not skew.ok else []
        checks += [check for check in _disk(f"disk of {node.node}", node.facts) if not check.ok]
        software = node.facts.get("software", version)
        if _number(software)[:2] != _number(version)[:2]:
            checks.append(
                Check(name=name, ok=False, text=f"version {software}, the core's is {version}", fix="install the same")
            )
    return checks


async def _repositories(ecs: AsyncEcs) -> list[Check]:
    try:
        places = (await ecs.consult("repository.list"))["repositories"]
    except EcsError as error:
        return [Check(name="repositories", ok=False, text=error.message, fix=error.hint)]
    checks = []
    for place in places:
        name = f"repository {place['name']}"
        try:
            if place["error"]:
                raise EcsError(place["error"], hint=f"coconut repository refresh {place['name']}")
            found = await ecs.consult("template.list", repo=place["name"])
        except EcsError as error:
            text = error.message.removeprefix(f"{name}: ")
            checks.append(Check(name=name, ok=False, text=text, fix=error.hint))
            continue
        count = len(found["templates"])
        text = f"{count} template{'s' * (count != 1)} at {found['revision'][:12]}"
        checks.append(Check(name=name, ok=True, text=text))
    return checks


async def _left_over(ecs: AsyncEcs) -> list[Check]:
    orphans = [task for task in await ecs.tasks("-") if task.orphan]
    if not orphans:
        return []
    nodes = sorted({task.node for task in orphans})
    return [
        Check(
            name="orphans",
            ok=False,
            text=f"{len(orphans)} task{'s' * (len(orphans) != 1)} that nobody knows, on {', '.join(nodes)}",
            fix="coconut task list --idle; coconut task clean",
        )
    ]
