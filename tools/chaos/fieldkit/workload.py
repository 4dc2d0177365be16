"""What clients do in a round of chaos, and the blows that fall meanwhile. All of it is written into a diary."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from fieldkit.cluster import Cluster, Daemon, Failed, is_alive
from fieldkit.diary import Diary, Entry, Picture
from fieldkit.schedule import Blow, Round, Script, Step
from libecs.errors import EcsError, WaitTimeout

WAIT_S = 120.0
"""No request may take longer, whatever befalls the daemons and however busy the machine is."""
TERM_S = 60.0
"""How long a daemon may take to end on a busy machine. That it is 2 s is tested elsewhere."""


class Broken(Exception):
    """A rule is broken; the text says which and how."""


class EventCount:
    """Counts events, and lets others wait for a number."""

    def __init__(self) -> None:
        self.total = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def watch(self, ecs: Any) -> None:
        """Count until it is cancelled."""
        async for _ in ecs.events():
            self.total += 1
            for number, future in self._waiters:
                if self.total >= number and not future.done():
                    future.set_result(None)

    async def next_or(self, seconds: float) -> None:
        """Wait for one more, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.reach(self.total + 1)

    async def reach(self, number: int) -> None:
        """Wait until so many have come."""
        if self.total >= number:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((number, future))
        try:
            await future
        finally:
            self._waiters.remove((number, future))


class Actor:
    """One client with one environment."""

    def __init__(self, name: str, ecs: Any, other: Any, diary: Diary, script: Script) -> None:
        self.name = name
        self._ecs = ecs
        self._other = other
        """Connection of somebody else, who meddles."""
        self._diary = diary
        self._script = script
        self.environment: Any = None

    async def _ask(self, verb: str, action: Callable[[], Any], environment: str = "") -> tuple[Entry, Any]:
        entry = self._diary.begin(self.name, verb, environment or (self.environment.id if self.environment else ""))
        try:
            async with asyncio.timeout(WAIT_S):
                answer = await action()
        except TimeoutError:
            self._diary.end(entry, "E_TIMEOUT", f"no answer within {WAIT_S:g} s")
            raise Broken(f"{self.name}: {verb} has no answer within {WAIT_S:g} s") from None
        except WaitTimeout:
            raise
        except EcsError as error:
            self._diary.end(entry, error.code, str(error))
            return entry, error
        self._diary.end(entry, "ok", environment=answer.id if hasattr(answer, "id") else "")
        return entry, answer

    async def act(self) -> None:
        """Do all steps; what fails for a good reason is mended."""
        for step in self._script.steps:
            if step.verb != "create" and self.environment is None:
                return
            await self._step(step)
            if self.environment is not None and step.verb != "destroy":
                await self._mend()

    async def _step(self, step: Step) -> None:
        if step.verb == "create":
            await self._create(step)
            return
        env = self.environment
        actions: dict[str, Callable[[], Any]] = {
            "start": lambda: env.control("START"),
            "stop": lambda: env.control("STOP"),
            "reset": lambda: env.control("RESET"),
            "configure": lambda: env.control("CONFIGURE"),
            "reconfigure": lambda: env.reconfigure({"value": str(step.value)}),
            "exclude": lambda: env.modify(exclude_nodes="n2"),
            "include": lambda: env.modify(include_nodes="n2"),
            "meddle": self._meddle,
            "destroy": lambda: env.destroy(
                allow_running=True, **({"keep_tasks": True} if self._script.keep and not env.broken else {})
            ),
        }
        if step.verb == "destroy":
            await self._look()
        _, answer = await self._ask(step.verb, actions[step.verb])
        if step.verb == "destroy":
            if isinstance(answer, EcsError):
                await self._ask("destroy", lambda: env.destroy(force=True, allow_running=True))
            self.environment = None

    async def _create(self, step: Step) -> None:
        variables = {"each": self._script.each, "value": step.value}
        for _ in range(2):
            _, answer = await self._ask("create", lambda: self._ecs.environment("field", variables, name=self.name))
            if not isinstance(answer, EcsError):
                self.environment = answer
                await self._look()
                return

    async def _meddle(self) -> None:
        """Somebody else sends an event at the same time; a serial order must come of it."""
        await (await self._other.get(self.environment.id)).control("STOP")

    async def _look(self) -> None:
        """Keep a picture of the tasks as the core shows them."""
        _, info = await self._ask("show", self.environment.show)
        if not isinstance(info, EcsError):
            self._diary.pictures.append(Picture.of(info))

    async def _mend(self) -> None:
        """Bring it from ERROR back to CONFIGURED."""
        env = self.environment
        for _ in range(3):
            _, info = await self._ask("show", env.show)
            if isinstance(info, EcsError):
                self.environment = None
                return
            self._diary.pictures.append(Picture.of(info))
            if not env.broken:
                return
            _, answer = await self._ask("recover", lambda: env.recover())
            if not isinstance(answer, EcsError):
                await self._ask("configure", lambda: env.control("CONFIGURE"))
        await self._ask("destroy", lambda: env.destroy(force=True, allow_running=True))
        self.environment = None


class Nemesis:
    """Deals the blows."""

    def __init__(self, cluster: Cluster, diary: Diary, count: EventCount) -> None:
        self._cluster = cluster
        self._diary = diary
        self._count = count
        self._begun = count.total

    async def work(self, blows: tuple[Blow, ...], done: asyncio.Event) -> None:
        """Deal all of them, one after the other. `done`: the clients have nothing more to do."""
        for blow in blows:
            reached = asyncio.ensure_future(self._count.reach(self._begun + blow.after_events))
            ended = asyncio.ensure_future(done.wait())
            await asyncio.wait((reached, ended), return_when=asyncio.FIRST_COMPLETED)
            for waiting in (reached, ended):
                waiting.cancel()
            await asyncio.gather(reached, ended, return_exceptions=True)
            await asyncio.sleep(blow.delay_ms / 1000)
            await self._strike(blow)

    async def _strike(self, blow: Blow) -> None:
        cluster = self._cluster
        node = list(cluster.nodes.values())[int(blow.pick * len(cluster.nodes)) % len(cluster.nodes)]
        row: dict[str, Any] = {
            "kind": blow.kind,
            "wanted": blow.after_events,
            "at_event": self._count.total - self._begun,
            "at_s": self._diary.now_s,
        }
        self._diary.blows.append(row)
        victims = {
            "core": [cluster.core],
            "core-twice": [cluster.core],
            "executor": [node],
            "core+executor": [cluster.core, node],
            "everything": cluster.daemons,
            "upgrade": [cluster.core],
            "upgrade-executor": [node],
            "pause": [cluster.core],
            "pause-executor": [node],
        }.get(blow.kind, [])
        row["victims"] = [victim.name for victim in victims]
        if not victims:
            self._kill_task(blow, row)
        elif blow.kind.startswith("pause"):
            for victim in victims:
                victim.pause()
            await asyncio.sleep(blow.gap_ms / 1000)
            for victim in victims:
                victim.resume()
        elif blow.kind.startswith("upgrade"):
            status = await asyncio.to_thread(victims[0].stop, TERM_S)
            if status != 0:
                raise Broken(f"{victims[0].name} ended with status {status} at SIGTERM")
            await self._back(victims, blow.gap_ms / 1000)
        else:
            for victim in victims:
                victim.kill()
            if blow.kind == "core-twice":
                cluster.core.start()
                await asyncio.sleep(blow.gap_ms / 1000)
                cluster.core.kill()
            await self._back(victims, 0 if blow.kind == "core-twice" else blow.gap_ms / 1000)
        row["over_s"] = self._diary.now_s

    async def _back(self, victims: list[Daemon], gap_s: float) -> None:
        await asyncio.sleep(gap_s)
        for victim in victims:
            victim.start()
        for victim in victims:
            try:
                await asyncio.to_thread(victim.wait_ready)
            except Failed as error:
                raise Broken(f"{victim.name} does not come back: {error}") from error

    def _kill_task(self, blow: Blow, row: dict[str, Any]) -> None:
        alive = {
            record.task: record.pids[-1]
            for record in self._cluster.read().values()
            if record.pids and "end" not in record.words() and is_alive(record.pids[-1])
        }
        if not alive:
            row["victims"] = ["nobody: no task lives"]
            return
        task = sorted(alive)[int(blow.pick * len(alive)) % len(alive)]
        row["victims"] = [task]
        if "shim" in blow.kind and (shim := self._cluster.shims().get(task)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(shim, signal.SIGKILL)
        if "task" in blow.kind:
            self._diary.killed.add(task)
            with contextlib.suppress(ProcessLookupError):
                os.kill(alive[task], signal.SIGKILL)


async def play(cluster: Cluster, sessions: list[Any], count: EventCount, plan: Round, diary: Diary) -> None:
    """Play one round to its end. Raises Broken."""
    actors = [
        Actor(f"c{plan.number}.{n}", sessions[n], sessions[1 - n], diary, script)
        for n, script in enumerate(plan.scripts)
    ]
    nemesis = Nemesis(cluster, diary, count)
    done = asyncio.Event()

    async def act() -> None:
        try:
            await asyncio.gather(*(actor.act() for actor in actors))
        finally:
            done.set()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(act())
            group.create_task(nemesis.work(plan.blows, done))
    except ExceptionGroup as failures:
        broken = [error for error in failures.exceptions if isinstance(error, Broken)]
        if broken:
            raise broken[0] from None
        raise
