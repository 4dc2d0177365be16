"""What clients ask that changes nothing, and the answers. What only the core's host can know is an effect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import attrs

from libecs.access import Principal, Role
from libecs.engine import rules
from libecs.engine.context import Context
from libecs.engine.effects import LookUp, RecallEvents, Replay, Send
from libecs.engine.environment import Environment
from libecs.engine.locks import Locks
from libecs.engine.requests import Requests
from libecs.engine.runbook import ANSWER_BYTES, RunBook, fitting, size
from libecs.engine.sessions import Sessions
from libecs.engine.snapshots import parts
from libecs.engine.telemetry import Telemetry
from libecs.engine.views import environment_info, node_infos, operation_info, orphan_info, task_info
from libecs.errors import EcsError, NotFound, Unreachable, UsageError, quoted
from libecs.globs import matches, role_pattern
from libecs.wire import client, node
from libecs.wire.info import EnvironmentInfo, Event, RunInfo, TaskInfo

TASKS_PART = 2000
"""Tasks of one message."""
MAX_OPERATIONS = 1000
MAX_EVENTS = 10_000
READ_S = 5.0
"""Seconds that a node has to read a task's output."""
MAX_READ = 1024 * 1024
MAX_READINGS = 1000
MAX_SEQUENCE = 2**62
"""Numbers of events above are none, and more than a journal takes."""

Question = (
    client.Show
    | client.ShowRuns
    | client.Subscribe
    | client.Watch
    | client.ShowEvents
    | client.ShowLocks
    | client.ShowNodes
    | client.ShowTasks
    | client.ShowOperations
    | client.ReadLog
    | client.Follow
    | client.Info
    | client.Consult
    | client.Ping
)


class Desk(Context, Protocol):
    """What questions need of the core."""

    environments: dict[str, Environment]
    telemetry: Telemetry
    runbook: RunBook
    requests: Requests
    sessions: Sessions
    locks: Locks
    epoch: int

    def full_run(self, number: int) -> RunInfo:
        """Return a run record with its metrics and configuration."""

    @property
    def sequence(self) -> int:
        """Number of the last event."""

    def ages(self) -> Mapping[str, int]:
        """Return the milliseconds since late nodes were heard."""

    def idle_tasks(self) -> Iterable[TaskInfo]:
        """Return the tasks of the idle pool."""

    def used(self) -> Mapping[str, tuple[int, float, float]]:
        """Return, by node, how many tasks environments have there, and the CPUs and memory in MB that they use."""

    def core_info(self, request: str, who: Principal) -> client.CoreInfo:
        """Return what this core is."""

    @property
    def known_detectors(self) -> Iterable[str]:
        """Detectors of the inventory."""


@attrs.frozen(kw_only=True)
class _Reading:
    """Somebody waits for the end of a task's output."""

    peer: str
    request: str
    task: str
    node: str
    stream: str
    until: float


class Questions:
    """Answers, subscribers, and readings of output that nodes have not answered yet."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._subscribers: dict[str, None] = {}
        self._readings: dict[str, _Reading] = {}
        self._answers: Mapping[type, Callable[..., None]] = {
            client.Show: self._show,
            client.ShowRuns: self._show_runs,
            client.Subscribe: self._subscribe,
            client.Watch: self._watch,
            client.ShowEvents: self._show_events,
            client.ShowLocks: self._show_locks,
            client.ShowNodes: self._show_nodes,
            client.ShowTasks: self._show_tasks,
            client.ShowOperations: self._show_operations,
            client.ReadLog: self._read_log,
            client.Follow: self._follow,
            client.Info: self._info,
            client.Consult: self._consult,
            client.Ping: self._ping,
        }

    def question(self, peer: str, message: Question, who: Principal) -> None:
        """Answer a question, or say why not."""
        desk = self._desk
        denied = rules.denial(who, rules.verb_of(message))
        if denied is not None:
            desk.emit(rules.asked(message, who, "denied", rules.error_text(denied)))
            self._refuse(peer, message.request, denied)
            return
        try:
            self._answers[type(message)](peer, message, who)
        except EcsError as error:
            self._refuse(peer, message.request, error)

    def _refuse(self, peer: str, request: str, error: EcsError) -> None:
        refused = client.Refused(request=request, code=error.code, message=error.message, hint=error.hint)
        self._desk.emit(Send(peer, refused))

    # environments and runs

    def _show(self, peer: str, message: client.Show, who: Principal) -> None:
        desk = self._desk
        ages: Mapping[str, int] = desk.ages() if message.tasks else {}
        chosen = tuple(
            _for(who, environment_info(env, ages, tasks=message.tasks, detectors=desk.locks.of(env)))
            for env in desk.environments.values()
            if message.environment in ("", env.id)
        )
        all_parts = list(parts(chosen))
        for number, part in enumerate(all_parts, 1):
            more = number < len(all_parts)
            shown = client.Environments(request=message.request, sequence=desk.sequence, environments=part, more=more)
            desk.emit(Send(peer, shown))

    def _show_runs(self, peer: str, message: client.ShowRuns, who: Principal) -> None:
        known = self._desk.runbook.runs
        runs: list[RunInfo] = []
        if message.number:
            if message.number in known:
                runs.append(fitting(self._desk.full_run(message.number)))
        else:
            room = ANSWER_BYTES
            for number in sorted(known, reverse=True)[: max(0, message.limit)]:
                room -= size(known[number])
                if room < 0:
                    break
                runs.append(known[number])
        shown = tuple(_run_for(who, run) for run in reversed(runs))
        self._desk.emit(Send(peer, client.Runs(request=message.request, runs=shown)))

    # events

    def _subscribe(self, peer: str, message: client.Subscribe, who: Principal) -> None:
        desk = self._desk
        self._subscribers[peer] = None
        desk.emit(Send(peer, client.Environments(request=message.request, sequence=desk.sequence, environments=())))
        if message.since > 0:
            desk.emit(Replay(peer=peer, since=min(message.since, MAX_SEQUENCE)))

    def _watch(self, peer: str, message: client.Watch, who: Principal) -> None:
        desk = self._desk
        if (message.metrics or message.lines) and message.environment and message.environment not in desk.environments:
            raise NotFound(f"no environment {quoted(message.environment)} is known: there is nothing to watch")
        desk.telemetry.watch(peer, message)
        desk.emit(Send(peer, client.Environments(request=message.request, sequence=desk.sequence, environments=())))

    def _show_events(self, peer: str, message: client.ShowEvents, who: Principal) -> None:
        limit = min(max(message.limit, 1), MAX_EVENTS)
        since = min(max(message.since, 0), MAX_SEQUENCE)
        self._desk.emit(RecallEvents(peer=peer, question=attrs.evolve(message, limit=limit, since=since)))

    def publish(self, events: tuple[Event, ...]) -> None:
        """Tell all subscribers."""
        for peer in self._subscribers:
            self._desk.emit(Send(peer, client.Events(events=events)))

    def disconnected(self, peer: str) -> None:
        """A client is gone."""
        self._subscribers.pop(peer, None)
        self._desk.telemetry.disconnected(peer)
        for id in [id for id, reading in self._readings.items() if reading.peer == peer]:
            del self._readings[id]

    # nodes, tasks, locks, operations

    def _show_locks(self, peer: str, message: client.ShowLocks, who: Principal) -> None:
        desk = self._desk
        locks = desk.locks.infos()
        known = {*desk.known_detectors, *desk.locks.in_use(), *(lock.detector for lock in locks)}
        desk.emit(Send(peer, client.Locks(request=message.request, locks=locks, detectors=tuple(sorted(known)))))

    def _show_nodes(self, peer: str, message: client.ShowNodes, who: Principal) -> None:
        desk = self._desk
        idle: dict[str, int] = {}
        for task in desk.idle_tasks():
            idle[task.node] = idle.get(task.node, 0) + 1
        nodes = node_infos(
            desk.sessions.nodes, desk.sessions.known, desk.sessions.drained, desk.used(), idle, desk.now.mono_s
        )
        desk.emit(Send(peer, client.Nodes(request=message.request, nodes=nodes)))

    def _show_tasks(self, peer: str, message: client.ShowTasks, who: Principal) -> None:
        tasks = list(self._tasks(message.environment))
        chunks = [tasks[start : start + TASKS_PART] for start in range(0, len(tasks), TASKS_PART)] or [[]]
        for number, part in enumerate(chunks, 1):
            more = number < len(chunks)
            self._desk.emit(Send(peer, client.Tasks(request=message.request, tasks=tuple(part), more=more)))

    def _tasks(self, environment: str) -> Iterable[TaskInfo]:
        desk = self._desk
        ages = desk.ages()
        for env in desk.environments.values():
            if environment in ("", env.id):
                for task in env.cast.tasks.values():
                    yield attrs.evolve(task_info(env, task, ages), environment=env.id)
        if environment in ("", "-"):
            yield from desk.idle_tasks()
            for one in desk.sessions.nodes.values():
                for held in one.orphans.values():
                    yield orphan_info(one.name, held)

    def _show_operations(self, peer: str, message: client.ShowOperations, who: Principal) -> None:
        records = list(self._desk.requests.operations.values())
        chosen = records[-min(max(message.limit, 1), MAX_OPERATIONS) :]
        operations = tuple(operation_info(record, who) for record in chosen)
        self._desk.emit(Send(peer, client.Operations(request=message.request, operations=operations)))

    def _follow(self, peer: str, message: client.Follow, who: Principal) -> None:
        if not self._desk.requests.follow(peer, message.operation, who):
            raise NotFound(
                f"no operation {quoted(message.operation)} is known",
                hint="coconut operation list shows the last ones",
            )

    # what tasks wrote

    def _read_log(self, peer: str, message: client.ReadLog, who: Principal) -> None:
        desk = self._desk
        if message.stream not in ("stdout", "stderr"):
            raise UsageError(f"{quoted(message.stream)} is no stream of a task (possible: stdout, stderr)")
        place = self._place(message.task)
        if place is None:
            raise NotFound(f"no task {quoted(message.task)} is known", hint="coconut task list shows all")
        if len(self._readings) >= MAX_READINGS:
            raise Unreachable("too many outputs are being read", hint="try again in a few seconds")
        id = f"read.{desk.new_id()}"
        read = min(max(message.bytes, 1), MAX_READ)
        sent = desk.send_node(
            place,
            lambda session, epoch: node.ReadOutput(
                session=session, epoch=epoch, id=id, task=message.task, stream=message.stream, bytes=read
            ),
        )
        if not sent:
            raise Unreachable(f"node {place} can't be asked: {desk.node_problem(place) or 'it has no session'}")
        self._readings[id] = _Reading(
            peer=peer,
            request=message.request,
            task=message.task,
            node=place,
            stream=message.stream,
            until=desk.now.mono_s + READ_S,
        )

    def _place(self, task: str) -> str | None:
        """Return the node of a task."""
        desk = self._desk
        for env in desk.environments.values():
            if task in env.cast.tasks:
                return env.cast.tasks[task].node
            if task in env.hooks:
                return env.cast.by_role[env.hooks[task]].node
        for info in desk.idle_tasks():
            if info.task == task:
                return info.node
        return next((one.name for one in desk.sessions.nodes.values() if task in one.orphans), None)

    def output_read(self, name: str, message: node.OutputRead) -> None:
        """Take the end of a task's output from its node."""
        reading = self._readings.get(message.id)
        if reading is None or reading.node != name:
            return
        del self._readings[message.id]
        if message.error:
            self._refuse(reading.peer, reading.request, NotFound(f"task {reading.task} on {name}: {message.error}"))
            return
        log = client.Log(
            request=reading.request,
            task=reading.task,
            node=name,
            stream=reading.stream,
            text=message.text,
            truncated=message.truncated,
        )
        self._desk.emit(Send(reading.peer, log))

    def beat(self) -> None:
        """Every half second: give up on nodes that do not answer."""
        now = self._desk.now.mono_s
        for id, reading in list(self._readings.items()):
            if now >= reading.until:
                del self._readings[id]
                late = Unreachable(f"node {reading.node} did not read the output of {reading.task} in {READ_S:g} s")
                self._refuse(reading.peer, reading.request, late)

    # the core itself, and its host

    def _info(self, peer: str, message: client.Info, who: Principal) -> None:
        self._desk.emit(Send(peer, self._desk.core_info(message.request, who)))

    def _ping(self, peer: str, message: client.Ping, who: Principal) -> None:
        desk = self._desk
        pong = client.Pong(request=message.request, unix_ms=desk.now.unix_ms, sequence=desk.sequence, epoch=desk.epoch)
        desk.emit(Send(peer, pong))

    def _consult(self, peer: str, message: client.Consult, who: Principal) -> None:
        desk = self._desk
        if message.subject != "role.query":
            masked = who.role is Role.VIEWER
            desk.emit(LookUp(peer=peer, question=message, offers=tuple(desk.offers()), masked=masked))
            return
        try:
            document = client.Document(request=message.request, json=self._roles(message.arguments, who))
        except EcsError as error:
            document = client.Document(request=message.request, code=error.code, message=error.message, hint=error.hint)
        desk.emit(Send(peer, document))

    def _roles(self, arguments: Mapping[str, str], who: Principal) -> str:
        """Return the roles of an environment that a glob chooses, with what they see, as JSON.

        Raises:
            UsageError: the glob is none, or an argument means nothing.
            NotFound: there is no such environment, or it is not loaded yet.
        """
        if unknown := sorted(set(arguments) - {"environment", "glob"}):
            raise UsageError(f"{quoted(unknown[0])} is no argument of role.query (possible: environment, glob)")
        name = arguments.get("environment", "")
        env = self._desk.environments.get(name)
        if env is None or env.workflow is None:
            known = ", ".join(self._desk.environments) or "none"
            raise NotFound(f"no environment {quoted(name)} (there are: {known})")
        pattern = role_pattern(arguments.get("glob") or "**")
        workflow, launcher = env.expanded
        roles = []
        for index, role in enumerate(workflow.roles):
            if not matches(pattern, role.path):
                continue
            variables = launcher.variables(index, env.record.overlay)
            placed = env.cast.placed.get(index)
            roles.append(
                {
                    "path": role.path,
                    "kind": role.kind.name.lower(),
                    "critical": role.critical,
                    "state": env.cast.tree.state(index).name,
                    "status": env.cast.tree.status(index).name,
                    "excluded": any(role.path == out or role.path.startswith(f"{out}.") for out in env.record.excluded),
                    "task": placed.task if placed else "",
                    "node": placed.node if placed else "",
                    "variables": rules.masked(variables) if who.role is Role.VIEWER else variables,
                }
            )
            if len(roles) > MAX_OPERATIONS:
                raise UsageError(f"more than {MAX_OPERATIONS} roles match", hint="name a smaller part of the tree")
        return json.dumps({"environment": env.id, "roles": roles})


def _for(who: Principal, info: EnvironmentInfo) -> EnvironmentInfo:
    """Return an environment as somebody may see it."""
    return attrs.evolve(info, variables=rules.masked(info.variables)) if who.role is Role.VIEWER else info


def _run_for(who: Principal, run: RunInfo) -> RunInfo:
    """Return a run as somebody may see it."""
    if who.role is not Role.VIEWER:
        return run
    return attrs.evolve(run, variables=rules.masked(run.variables), user_variables=rules.masked(run.user_variables))
