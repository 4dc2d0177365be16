"""Requests that touch no environment: work of the core's host, drained nodes, single tasks, notes about runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs

from libecs.engine.context import Context
from libecs.engine.effects import DoWork, Persist
from libecs.engine.environment import Environment
from libecs.engine.records import DRAIN, DrainRecord
from libecs.engine.runbook import RunBook
from libecs.engine.sessions import Sessions
from libecs.errors import Conflict, NotFound, UsageError, quoted
from libecs.wire import client
from libecs.wire.codec import pack_value
from libecs.wire.info import Note, TaskInfo

MAX_NOTE = 4096
"""Bytes of one note."""
MAX_NOTES = 200
MAX_TAGS = 64
MAX_TAG = 256
MAX_REASON = 500
WORK = "Work."


class Desk(Context, Protocol):
    """What works need of the core."""

    environments: dict[str, Environment]
    runbook: RunBook
    sessions: Sessions

    def owner(self, task: str) -> Environment | None:
        """Return the environment that a task belongs to."""

    def idle_tasks(self) -> Iterable[TaskInfo]:
        """Return the tasks of the idle pool."""

    def end_idle(self, tasks: Iterable[str]) -> None:
        """End tasks of the idle pool."""

    def told_late(self, number: int) -> None:
        """More is known of a run that is over."""


def do_work(desk: Desk, message: client.Work) -> None:
    """Let the core's host do something; its end comes as WorkDone."""
    desk.emit(DoWork(work=message, requester=message.requester))


def drain(desk: Desk, message: client.Drain) -> str:
    """Place nothing new on a node, or do again; return what is so now, as JSON.

    Raises:
        NotFound: nobody knows the node.
    """
    sessions, name = desk.sessions, message.node
    known = {*sessions.nodes, *sessions.known, *sessions.drained}
    known.update(placed.node for env in desk.environments.values() for placed in env.cast.placed.values())
    if name not in known:
        raise NotFound(f"no node {quoted(name)} (there are: {', '.join(sorted(known)[:50]) or 'none'})")
    was = name in sessions.drained
    if message.on:
        record = DrainRecord(by=message.requester, since_ms=desk.now.unix_ms, reason=message.reason[:MAX_REASON])
        sessions.drained[name] = record
        desk.emit(Persist(DRAIN, name, pack_value(record)))
    elif was:
        del sessions.drained[name]
        desk.emit(Persist(DRAIN, name, None))
    if message.on or was:
        because = f": {message.reason[:MAX_REASON]}" if message.reason else ""
        state = "DRAINED" if message.on else "UNDRAINED"
        desk.event("node", name=name, state=state, text=f"by {message.requester or 'the owner'}{because}")
    if message.on:
        desk.pool.leave(desk, name)
    return json.dumps({"node": name, "drained": message.on})


def end_tasks(desk: Desk, message: client.EndTasks) -> str:
    """End single tasks; return which, as JSON. They are condemned: it is done however long that takes.

    Raises:
        NotFound: nobody knows one of the tasks; then none is ended.
        Conflict: one belongs to an environment that is busy, or `force` is not there; then none is ended.
    """
    idle = {info.task for info in desk.idle_tasks()}
    orphans = {task: one.name for one in desk.sessions.nodes.values() for task in one.orphans}
    names = tuple(dict.fromkeys(message.tasks)) or (*sorted(idle), *sorted(orphans))
    owned: dict[str, str] = {}
    for name in names:
        if name in idle or name in orphans:
            continue
        env = desk.owner(name)
        if env is None:
            raise NotFound(f"no task {quoted(name)} is known", hint="coconut task list shows all")
        if not message.force:
            raise Conflict(
                f"task {name} is {env.cast.tasks[name].path} of environment {env.id} ({env.state.name})",
                hint="exclude its role, or end it by force: its environment takes that for a death",
            )
        if env.busy:
            raise Conflict(
                f"task {name} is one of environment {env.id}, which is busy: it may be launched or told something now",
                hint="wait for that to end, or destroy the environment by force",
            )
        owned[name] = env.cast.tasks[name].node
    desk.end_idle([name for name in names if name in idle])
    by_node: dict[str, list[str]] = {}
    for name in names:
        if (place := orphans.get(name) or owned.get(name)) is not None:
            by_node.setdefault(place, []).append(name)
    for place, tasks in by_node.items():
        desk.condemn(place, tasks)
    return json.dumps({"tasks": list(names)})


def annotate(desk: Desk, message: client.Annotate) -> str:
    """Write about a run; return what is on record now, as JSON.

    Raises:
        NotFound: there is no record of the run.
        UsageError: there is nothing to write, or too much.
    """
    run = desk.runbook.runs.get(message.run)
    if run is None:
        raise NotFound(f"no run {message.run} is on record", hint="coconut run list shows the last ones")
    tags = _tagged(run.tags, message.tags)
    notes = run.notes
    if message.note:
        if len(message.note.encode("utf-8", "replace")) > MAX_NOTE:
            raise UsageError(f"a note of a run has at most {MAX_NOTE} bytes")
        if len(notes) >= MAX_NOTES:
            raise UsageError(f"run {run.number} has {MAX_NOTES} notes, which are all that it may have")
        notes = (*notes, Note(unix_ms=desk.now.unix_ms, author=message.requester, text=message.note))
    elif not message.tags:
        raise UsageError("there is nothing to write: neither a note nor tags")
    desk.runbook.save(attrs.evolve(run, notes=notes, tags=tags))
    desk.event("run.note", run.environment, run_number=run.number, text=message.note[:MAX_REASON])
    if run.end_completion_ms and run.end_reason:  # else it is not judged yet: its file is written then
        desk.told_late(run.number)
    return json.dumps({"run": run.number, "notes": len(notes), "tags": tags})


def _tagged(old: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    for name, value in changes.items():
        if not name or len(name) > MAX_TAG or len(value) > MAX_TAG:
            raise UsageError(f"{quoted(name)} is no tag: name and value have at most {MAX_TAG} characters")
    tags = {name: value for name, value in {**old, **changes}.items() if value}
    if len(tags) > MAX_TAGS:
        raise UsageError(f"a run has at most {MAX_TAGS} tags")
    return tags
