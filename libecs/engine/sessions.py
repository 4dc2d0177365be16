"""The core's sessions with its nodes: who is there, what they say, and what that means for environments.

A node's messages are numbered. What came late says nothing about tasks of which newer is known; what is missing is
asked for until an Announce stands for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import attrs

from libecs.engine import launching, spans, steps, transits
from libecs.engine.context import Context
from libecs.engine.effects import Persist, Send
from libecs.engine.environment import Environment
from libecs.engine.nodes import Condemned, Node, Reach, process_of
from libecs.engine.placement import NodeOffer
from libecs.engine.plan import DESTROY, StepKind
from libecs.engine.reconcile import Known, reconcile
from libecs.engine.records import CONDEMNED, CORE, FRESH, NODE, DrainRecord
from libecs.engine.task import Task
from libecs.fsm import TaskState
from libecs.wire import node
from libecs.wire.node import Phase, TaskStatus

FORGET_MS = 14 * 86_400_000
"""What has not come for so long is no node any more."""
KILL_AGAIN_S = 5.0
"""Condemned tasks are condemned again this often, until they are gone."""
HEARD_WITHIN_S = 0.25
"""A keepalive that was sent so long ago should have been heard."""
SESSIONS_PER_EPOCH = 1_000_000
MAX_EPOCH = 2**62 // SESSIONS_PER_EPOCH
"""Numbers of sessions made of more don't fit the wire: who has seen such an epoch has seen no core."""

MAX_REPLACED = 20
"""So many processes of an executor are remembered, to know them when they come back."""
_TWO = "{} is here already, from {}: two executors have its key"

MAX_UNHEARD_MS = 3_600_000
"""More is not believed."""

FromNode = node.Announce | node.Update | node.Answer | node.NodeKeepalive | node.Fenced
M = TypeVar("M", bound=FromNode)


class Hub(Context, Protocol):
    """What sessions need of the core."""

    epoch: int
    is_fresh: bool
    """Whether this life began without records: what a node has seen of its epoch was another's."""
    environments: dict[str, Environment]

    def owner(self, task: str) -> Environment | None:
        """Return the environment that a task belongs to."""

    def take_over(self, epoch: int) -> bool:
        """Go on as epoch `epoch` if our own records are lost; False if they are not, and another core is newer."""


class Sessions:
    """All nodes that ever said hello to this life of the core."""

    def __init__(self, hub: Hub, instance: str, suspect_s: float, lost_s: float) -> None:
        self._hub = hub
        self._instance = instance
        self._suspect_s = suspect_s
        self._lost_s = lost_s
        self._count = 0
        self._beat = 0
        self._beats: deque[tuple[int, float]] = deque(maxlen=8)
        """The last keepalives of ours, by their numbers, and when they were sent."""
        self.look_at: float | None = None
        """Monotonic time at which a node is late, before the next beat."""
        self._open: dict[int, Node] = {}
        self.nodes: dict[str, Node] = {}
        self.condemned = Condemned()
        self.drained: dict[str, DrainRecord] = {}
        """Nodes on which nothing new is placed."""
        self.known: dict[str, int] = {}
        """All nodes that came in the last weeks, to when that was, unix milliseconds."""

    # coming and going

    def hello(self, peer: str, hello: node.NodeHello) -> None:
        """Open a session for a node, which ends the one that it had."""
        hub = self._hub
        ahead = hello.epoch_seen > hub.epoch
        stranger = hello.epoch_seen == hub.epoch and hub.is_fresh and hello.node not in self.nodes
        if (ahead or stranger) and not (hello.epoch_seen < MAX_EPOCH and hub.take_over(hello.epoch_seen + 1)):
            reason = f"epoch {hello.epoch_seen} has been seen, this core is {hub.epoch}: another core took over"
            hub.emit(Send(peer, node.NodeRefused(epoch=hub.epoch, reason=reason)))
            return
        old = self.nodes.get(hello.node)
        if old is not None and self._is_another(old, hello):
            hub.emit(Send(peer, node.NodeRefused(epoch=hub.epoch, reason=_TWO.format(hello.node, old.hello.host))))
            return
        self._count += 1
        session = hub.epoch * SESSIONS_PER_EPOCH + self._count
        one = Node(hello=hello, peer=peer, session=session, heard=hub.now.mono_s, came_ms=hub.now.unix_ms)
        one.spoke = one.hears_since = one.heard
        if old is not None:
            one.reach, one.orphans = old.reach, old.orphans
            before = (*old.replaced, process_of(old.hello))
            one.replaced = tuple(process for process in before if process != process_of(hello))[-MAX_REPLACED:]
            self._open.pop(old.session or 0, None)
        for env in hub.environments.values():
            env.cast.new_session(hello.node)
        hub.pool.new_session(hello.node)
        self.nodes[hello.node] = one
        self._open[session] = one
        self.known[hello.node] = hub.now.unix_ms
        hub.emit(Persist(NODE, hello.node, str(hub.now.unix_ms).encode()))
        if hub.is_fresh:
            hub.emit(Persist(CORE, FRESH, None))
        hub.emit(Send(peer, node.Welcome(version=1, epoch=hub.epoch, session=session, instance=self._instance)))
        hub.event("node", name=hello.node, state="CONNECTED", text=hello.host)

    def _is_another(self, old: Node, hello: node.NodeHello) -> bool:
        """Whether a second executor says it is a node that is here: it has its key, as of a machine that was copied.

        One that was started anew on its machine is let in at once, but not the one before it while it is heard: the two
        would take the node from each other for ever. One of another machine, which has none of the tasks, is let in
        when the first is LOST: a link that breaks for a moment is no reason to give its place away.
        """
        if old.reach is Reach.LOST or process_of(old.hello) == process_of(hello):
            return False
        machines = {old.hello.facts.get("boot_id", ""), hello.facts.get("boot_id", "")} - {""}
        is_heard = old.reach is Reach.UP and old.session is not None
        if len(machines) < 2 and not (is_heard and process_of(hello) in old.replaced):
            return False
        if not old.doubled:
            old.doubled = True
            text = f"{_TWO.format(hello.node, old.hello.host)}; the other one is at {hello.host}"
            self._hub.event("node", name=hello.node, state="REFUSED", ok=False, text=text)
        return True

    def disconnected(self, peer: str) -> None:
        """A link is down: if it was a node's, its session is over."""
        for one in self.nodes.values():
            if one.peer == peer:
                self._open.pop(one.session or 0, None)
                one.session = None
                one.announced = False

    def forget_old(self) -> None:
        """Forget nodes that have not come for weeks."""
        for name, came_ms in list(self.known.items()):
            if self._hub.now.unix_ms - came_ms > FORGET_MS:
                del self.known[name]
                self._hub.emit(Persist(NODE, name, None))

    @property
    def away(self) -> list[str]:
        """Names of nodes that have not come to this life of the core, or have come and not told yet what they hold, and
        came to one a short time ago.
        """
        nodes = self.nodes
        return [
            name
            for name in self.known
            if (one := nodes.get(name)) is None or (one.session is not None and not one.announced)
        ]

    def absent(self, began: float) -> dict[str, float]:
        """Return the nodes that are known and not connected, to the monotonic time when they were heard last, or to
        `began` if never in this life; those that take nothing new anyway are left out.
        """
        offers = self.offers()
        return {
            name: one.heard if (one := self.nodes.get(name)) is not None else began
            for name in self.known
            if name not in offers and name not in self.drained
        }

    def send(self, name: str, message: Callable[[int, int], object]) -> bool:
        """Send what `message(session, epoch)` makes, if the node is there; tell whether it was."""
        one = self.nodes.get(name)
        if one is None or one.session is None:
            return False
        self._hub.emit(Send(one.peer, message(one.session, self._hub.epoch)))
        return True

    def node_of(self, session: int) -> str | None:
        """Return the node of a session that is open."""
        one = self._open.get(session)
        return None if one is None else one.name

    def offers(self) -> dict[str, NodeOffer]:
        """Return the nodes that can take tasks now, with nothing used."""
        return {
            name: one.offer()
            for name, one in self.nodes.items()
            if one.reach is Reach.UP and one.session and name not in self.drained
        }

    def problem(self, name: str) -> str:
        """Return why a node can't be reached, "" if it can."""
        one = self.nodes.get(name)
        if one is None:
            return "the node has not come back yet"
        if one.reach is not Reach.UP:
            return f"the node does not answer for {self._hub.now.mono_s - one.heard:.1f} s"
        if not one.announced:
            return "the node has not told what it runs"
        return "the node has told something that did not arrive" if one.gap else ""

    def ages(self) -> Mapping[str, int]:
        """Return the milliseconds since each node was heard, for those that are late or not back yet."""
        hub = self._hub
        ages = {}
        for env in hub.environments.values():
            for name in env.cast.by_node:
                one = self.nodes.get(name)
                if one is None:
                    ages[name] = 0
                elif one.reach is not Reach.UP or one.session is None:
                    ages[name] = int((hub.now.mono_s - one.heard) * 1000)
        return ages

    # what nodes say

    def received(self, peer: str, message: FromNode, strange: Callable[[str], None] = lambda text: None) -> None:
        """Take a message of a session. `strange` is told what a node says that is not its to say."""
        hub = self._hub
        if isinstance(message, node.Fenced):
            if message.epoch > hub.epoch:
                hub.event("node", state="FENCED", ok=False, text=f"epoch {message.epoch} is newer than {hub.epoch}")
            return
        one = self._open.get(message.session)
        if one is None:
            hub.emit(Send(peer, node.NodeRefused(epoch=hub.epoch, reason="this session is not known")))
            return
        if not one.deaf and hub.now.mono_s - one.spoke >= self._suspect_s / 2:
            one.hears_since = hub.now.mono_s
        one.spoke = hub.now.mono_s
        if isinstance(message, node.NodeKeepalive):
            self._listen(one, message)
        elif not one.deaf:
            self._heard(one)
        message = self._its_own(one, message, strange)
        if isinstance(message, node.NodeKeepalive):
            if message.sequence > one.sequence or one.gap:
                self._inquire(one)
            return
        if isinstance(message, node.Announce):
            one.gap = one.gap and message.sequence < one.sequence
        elif message.sequence > one.sequence + 1:
            one.gap = True
            self._inquire(one)
        one.sequence = max(one.sequence, message.sequence)
        if isinstance(message, node.Announce):
            self._announced(one, message)
        elif isinstance(message, node.Update):
            self._learn(((status.task, status) for status in message.tasks), message.sequence)
        else:
            self._answered(one, message)

    def _its_own(self, one: Node, message: M, strange: Callable[[str], None]) -> M:
        """Leave out what a node says of tasks of other nodes: one that somebody has broken into harms itself alone."""
        if isinstance(message, node.Update):
            updates = tuple(told for told in message.tasks if self.is_at(told.task, one.name))
            if len(updates) < len(message.tasks):
                strange("speaks of tasks of another node")
                return attrs.evolve(message, tasks=updates)
        elif isinstance(message, node.Announce):
            held = tuple(told for told in message.tasks if self.is_at(told.status.task, one.name))
            if len(held) < len(message.tasks):
                strange("holds tasks of another node")
                return attrs.evolve(message, tasks=held)
        elif isinstance(message, node.Answer):
            done = tuple(name for name in message.done if self.is_at(name, one.name))
            failed = tuple(failure for failure in message.failed if self.is_at(failure.task, one.name))
            if len(done) + len(failed) < len(message.done) + len(message.failed):
                strange("answers for tasks of another node")
                return attrs.evolve(message, done=done, failed=failed)
        return message

    def is_at(self, task: str, name: str) -> bool:
        """Whether a task is that of a node as far as we know, or nobody's."""
        for id in (task, task.rpartition("h")[0]):  # one life of a hook: the task's id, h, the plan's number
            env = self._hub.owner(id)
            if env is not None:
                return env.cast.tasks[id].node == name
        idle = self._hub.pool.idle.get(task)
        place = self.condemned.node_of(task) if idle is None else idle.record.node
        return place is None or place == name

    def _listen(self, one: Node, message: node.NodeKeepalive) -> None:
        """Count a keepalive as a sign of life, unless the node says in it that it does not hear us."""
        one.deaf = self._is_deaf(one, message)
        if not one.deaf:
            self._heard(one)
            return
        one.heard = self._hub.now.mono_s - min(message.unheard_ms, MAX_UNHEARD_MS) / 1000
        self._judge(one)

    def _is_deaf(self, one: Node, message: node.NodeKeepalive) -> bool:
        """Tell whether what a node has not heard was really sent: it may be us who were stopped."""
        if message.unheard_ms < self._suspect_s * 1000:
            return False
        missed = [at for number, at in self._beats if number > message.beat and at > one.hears_since]
        return len(missed) > 1 and self._hub.now.mono_s - missed[1] >= HEARD_WITHIN_S

    def _heard(self, one: Node) -> None:
        one.heard = self._hub.now.mono_s
        if one.reach is not Reach.UP:
            was, one.reach = one.reach, Reach.UP
            self._hub.event("node", name=one.name, state="UP")
            if was is Reach.LOST:
                self._mark_lost(one.name, False)
            for env in list(self._hub.environments.values()):
                launching.place_again(env, one.name)
                env.advance(self._hub)

    def _inquire(self, one: Node) -> None:
        self.send(one.name, lambda session, epoch: node.Inquire(session=session, epoch=epoch))

    def _learn(self, statuses: Iterable[tuple[str, TaskStatus]], sequence: int) -> None:
        touched: dict[str, Environment] = {}
        for name, status in statuses:
            env = self._hub.owner(name)
            if env is None:
                self._hub.pool.learn(self._hub, status, sequence)
                continue
            task = env.cast.tasks[name]
            was_dead, was_over = task.dead, task.end_of_stream
            was_stalled = task.stalled or (task.as_of < 0 and spans.is_open(env, self._hub, task.path, spans.STALLED))
            if task.as_of < 0:
                spans.restore(env, self._hub, task.path, spans.UNKNOWN)
            if env.cast.learn(task, status, sequence, launching=env.is_launching(task)):
                touched[env.id] = env
                if task.end_of_stream and not was_over:
                    self._hub.event("task.end_of_stream", env.id, role=task.path, run_number=env.record.run_number)
                if task.stalled is not was_stalled and not task.dead:
                    self._stalled(env, task)
                self._consider(env, task, was_dead)
        for env in touched.values():
            env.advance(self._hub)

    def _stalled(self, env: Environment, task: Task) -> None:
        """A task does not answer any more, or answers again. That is said, and changes no state."""
        number = env.record.run_number
        self._hub.event("task.stalled", env.id, role=task.path, ok=not task.stalled, text=task.error, run_number=number)
        if task.stalled:
            spans.degrade(env, self._hub, task.path, f"{spans.STALLED}{task.why()}")
        else:
            spans.restore(env, self._hub, task.path, spans.STALLED)

    def _consider(self, env: Environment, task: Task, was_dead: bool) -> None:
        """A task changed: that may end a step, or the run."""
        step = env.step
        if step is not None and task.id in env.waiting:
            if step.kind is StepKind.LAUNCH:
                launching.judge(env, task)
                return
            if step.kind is StepKind.TASKS:
                transits.judge(env, task, step)
                return
        if task.dead and not was_dead and not task.hook:
            if task.role not in env.cast.out and not env.cast.matters(task):
                spans.degrade(env, self._hub, task.path, task.why())
            env.broken(self._hub, task)

    def _answered(self, one: Node, message: node.Answer) -> None:
        hub = self._hub
        env = hub.environments.get(message.id.partition(".")[0])
        if env is None or env.workflow is None:
            for name in message.done:
                self._gone(name)
            return
        for name in message.done:
            task = env.cast.tasks.get(name)
            if task is not None:
                env.cast.learn_state(task, message.state, message.sequence)
            else:
                hub.pool.learn_state(name, message.state, message.sequence)
        steps.answered(env, hub, one.name, message)
        env.advance(hub)

    # what they hold

    def _announced(self, one: Node, message: node.Announce) -> None:
        hub = self._hub
        known = [
            Known(task=task.id, launched=_was_launched(env, task))
            for env in hub.environments.values()
            for task in env.cast.by_node.get(one.name, ())
            if not task.hook
        ]
        known += [Known(task=name, launched=True) for name in hub.pool.of(one.name)]
        findings = reconcile(known, self.condemned.of(one.name), message.tasks)
        one.announced = True
        self._learn(((held.status.task, held.status) for held in findings.adopted), message.sequence)
        known_orphans, one.orphans = one.orphans, {}
        for held in findings.orphans:
            self._orphan(one, held, known_orphans)
        for name in findings.lost:
            self._lost_task(name, message.sequence)
        self.kill(one.name, self.condemned.of(one.name))
        for env in list(hub.environments.values()):
            launching.node_announced(env, one.name)
            steps.resend(env, hub, one.name)
            env.advance(hub)

    def _orphan(self, one: Node, held: node.Held, known: Mapping[str, node.Held]) -> None:
        """A task that nobody knows is shown, once, and left alone."""
        name = held.status.task
        if any(name in env.hooks for env in self._hub.environments.values()):
            return
        one.orphans[name] = held
        if name in known:
            return
        text = f"node {one.name} runs a task that no record knows (pid {held.status.pid})"
        self._hub.event("orphan", held.environment, role=held.role, name=name, ok=False, text=text)

    def _lost_task(self, name: str, sequence: int) -> None:
        env = self._hub.owner(name)
        if env is None:
            self._hub.pool.lost(self._hub, name, sequence)
            return
        if sequence <= env.cast.tasks[name].as_of:
            return
        exit = node.Exit(cause=node.ExitCause.UNKNOWN)
        error = "its node does not hold it any more"
        status = TaskStatus(task=name, phase=Phase.EXITED, state=TaskState.ERROR, exit=exit, error=error)
        self._learn(((name, status),), sequence)

    # tasks that must end

    def condemn(self, name: str, tasks: Iterable[str]) -> None:
        """End tasks for certain, however long that takes; `steps.gone` is called for each."""
        tasks = list(tasks)
        for task in self.condemned.add(name, tasks):
            self._hub.emit(Persist(CONDEMNED, task, name.encode()))
        self.kill(name, tasks)

    def kill(self, name: str, tasks: Iterable[str]) -> None:
        """Tell a node to end tasks."""
        names = tuple(tasks)
        if names:
            id = f"kill.{self._hub.new_id()}"
            self.send(name, lambda session, epoch: node.Kill(session=session, epoch=epoch, id=id, tasks=names))

    def _gone(self, name: str) -> None:
        if self.condemned.remove(name):
            self._hub.emit(Persist(CONDEMNED, name, None))
        for one in self.nodes.values():
            one.orphans.pop(name, None)
        env = self._hub.owner(name)
        if env is not None:
            task, was_dead = env.cast.tasks[name], env.cast.tasks[name].dead
            steps.gone(env, name)
            if not (env.plan is not None and env.plan.event == DESTROY):  # somebody has ended it by force
                self._consider(env, task, was_dead)
            env.advance(self._hub)

    # time

    def beat(self) -> None:
        """Every half second: keep alive, and see who is late."""
        now = self._hub.now.mono_s
        self._beat += 1
        self._beats.append((self._beat, now))
        self.look()
        for one in self.nodes.values():
            self.send(one.name, _keepalive(one.sequence, self._beat))
            waiting = self.condemned.of(one.name)
            if waiting and one.session is not None and now >= one.kill_again_at:
                one.kill_again_at = now + KILL_AGAIN_S
                self.kill(one.name, waiting)

    def look(self) -> None:
        """See who is late, and who will be if nothing comes."""
        dues = []
        for one in self.nodes.values():
            self._judge(one)
            if one.reach is not Reach.LOST:
                dues.append(one.heard + (self._suspect_s if one.reach is Reach.UP else self._lost_s))
        self.look_at = min(dues, default=None)

    def _judge(self, one: Node) -> None:
        """Take a node for SUSPECT or LOST if it was not heard, or has not heard us, for so long."""
        hub = self._hub
        age = hub.now.mono_s - one.heard
        text = f"does not hear the core for {age:.1f} s" if one.deaf else f"silent for {age:.1f} s"
        if one.reach is Reach.UP and age + 1e-6 >= self._suspect_s:
            one.reach = Reach.SUSPECT
            hub.event("node", name=one.name, state="SUSPECT", ok=False, text=text)
        if one.reach is Reach.SUSPECT and age + 1e-6 >= self._lost_s:
            one.reach = Reach.LOST
            hub.event("node", name=one.name, state="LOST", ok=False, text=text)
            self._mark_lost(one.name, True)

    def forgive(self, seconds: float) -> None:
        """We were stopped, not the nodes."""
        self.look_at = None  # until the next beat
        for one in self.nodes.values():
            one.heard += seconds

    def _mark_lost(self, name: str, lost: bool) -> None:
        for env in self._hub.environments.values():
            for task in env.cast.by_node.get(name, ()):
                task.lost = lost
                env.cast.show(task)
                if task.hook or task.dead:
                    continue
                if lost:
                    spans.degrade(env, self._hub, task.path, f"{spans.UNKNOWN}node {name} does not answer")
                    continue
                spans.restore(env, self._hub, task.path, spans.UNKNOWN)
                if task.stalled:
                    spans.degrade(env, self._hub, task.path, f"{spans.STALLED}{task.why()}")


def _keepalive(seen: int, beat: int) -> Callable[[int, int], object]:
    return lambda session, epoch: node.CoreKeepalive(session=session, epoch=epoch, seen=seen, beat=beat)


def _was_launched(env: Environment, task: Task) -> bool:
    """Whether a task that its node does not hold must have been lost there; else it was never launched."""
    step = env.step
    if step is not None and step.kind is StepKind.LAUNCH and task.id in env.waiting:
        return task.as_of >= 0
    return env.record.launched or task.as_of >= 0
