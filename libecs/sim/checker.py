"""The checker: rules that every history must keep, checked while it goes on and at its end.

It believes nobody: it compares what the core commits, publishes and answers (`promises`) with what the simulated tasks
really did (`deeds`), and with what is shown once all is at rest (`picture`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from libecs.engine.effects import Audit
from libecs.fsm import EnvState, Mode
from libecs.sim.accounts import Accounts
from libecs.sim.clients import Operation
from libecs.sim.deeds import Deeds
from libecs.sim.history import History
from libecs.sim.house import House
from libecs.sim.known import Known
from libecs.sim.modifications import Modifications
from libecs.sim.picture import Picture
from libecs.sim.promises import Promises
from libecs.sim.workflows import IDEMPOTENT
from libecs.wire.client import Create, Environments, Finished, Modify, Reconfigure
from libecs.wire.info import Event, RunCondition, RunInfo

if TYPE_CHECKING:
    from libecs.sim.world import World


EXPECTED = ("", "E_STATE", "E_CONFLICT", "E_NOT_FOUND", "E_DENIED", "E_USAGE", "E_INVALID")
"""Codes of answers where nothing is wrong."""
DESTROYED_S = 10.0
"""A death so short before the end of its environment may belong to its destruction, of which it is a part."""


class Checker:
    """Keeps the rules of one history."""

    def __init__(self, world: World, history: History) -> None:
        self.world = world
        self.history = history
        self.known = Known()
        self.house = House(world, history)
        self.accounts = Accounts(world, history)
        self.modifications = Modifications(world, history)
        self.promises = Promises(world, history, self.known, house=self.house, modifications=self.modifications)
        self.deeds = Deeds(
            world, history, self.known, house=self.house, accounts=self.accounts, modifications=self.modifications
        )
        self._picture = Picture(world, self.known, self.modifications)

    # what the core commits and says

    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """See records and events that are on disk now."""
        for event in events:
            self.promises.event(event)
            self.house.event(event)
        self.house.committed(records)
        self.promises.committed(records)
        self.accounts.committed(records)
        self.modifications.committed(records)

    def published(self, events: tuple[Event, ...]) -> None:
        """See events that went out."""
        self.promises.published(events)

    def audited(self, line: Audit) -> None:
        """See a line of the audit log."""
        self.house.audited(line)

    def saved_run(self, run: RunInfo) -> None:
        """A run is written as a file."""
        self.accounts.saved_run(run)

    def answered(self, operation: Operation, finished: Finished) -> None:
        """See an answer to an operation."""
        request = operation.request
        self.house.answered(finished)
        if isinstance(request, Create) and request.auto:
            known = self.known.environments.get(finished.environment)
            self.house.auto_answered(finished, known.state if known is not None else None)
        if not self.promises.answered(operation, finished):
            return
        if isinstance(request, Modify):
            self.modifications.answered(operation, request, finished)
        if isinstance(request, Reconfigure):
            self.accounts.reconfigure_answered(operation, request, finished)

    # what is lost for good

    def core_forgot(self) -> None:
        """The core's records are lost: it begins anew, and what ran is nobody's. It lives on, and is shown."""
        self.known.core_forgot(self.world.agenda.mono_s)
        self.promises.forget()
        self.house.forget()
        self.accounts.forget()
        self.modifications.forget()
        for operation in self.world.shared.operations.values():
            operation.abandoned = True

    def executor_forgot(self, name: str) -> None:
        """An executor's records are lost: what it had promised to hooks and basic tasks, and its place in time."""
        self.known.forgetful.add(name)

    # the end

    def unsettled(self, snapshot: Environments | None) -> list[str]:
        """Return why the system is not at rest. Empty: it is, and all that is shown is true."""
        return self._picture.unsettled(snapshot)

    def finish(self) -> None:
        """Check what can only be said when everything is over: all environments are destroyed."""
        self._check_processes()
        self._check_runs()
        for held in self.world.hall.living():
            orphan = held.spec.environment in self.known.orphans
            if (held.running or held.busy) and not (orphan or held.stolen or self.known.forgetful):
                self._broken("attached", f"{held.spec.endpoint} is left behind in {held.state_name}")
        for env in self.known.environments.values():
            if env.states and env.state is not EnvState.DONE:
                self._broken("liveness", f"environment {env.name} is {env.state.name} after its destruction")
        self._check_deaths()
        self._check_calls()
        if self.world.scenario.kind == "calm":
            self._check_answers()

    def _check_processes(self) -> None:
        """No process is left behind, and none was started more often, or elsewhere, than it was told."""
        places: dict[str, str] = {}
        for node in self.world.nodes:
            for process in node.living():
                spec = process.spec
                if spec.environment not in self.known.orphans:
                    self._broken("left-behind", f"task {spec.task} ({spec.role}) still lives on {node.name}")
            for task, n in node.spawned.items():
                mode = node.modes[task]
                allowed = max(1, len(self.deeds.starts_given.get(task, ()))) if mode is Mode.BASIC else 1
                if n > allowed and not (node.name in self.known.forgetful and mode in (Mode.HOOK, Mode.BASIC)):
                    self._broken("started-twice", f"task {task} was started {n} times on {node.name}")
        for node in self.world.nodes:
            for task in node.spawned:
                if places.setdefault(task, node.name) != node.name:
                    self._broken("started-twice", f"task {task} was started on {places[task]} and {node.name}")

    def _check_runs(self) -> None:
        """Each run has begun once and ended once, and its record says so and how it was."""
        for number, parts in self.known.runs.items():
            if number in self.known.lost_runs:
                continue
            kinds = sorted(part.split()[0] for part in parts)
            if kinds != ["end", "start"]:
                self._broken("one-run", f"run {number} has {', '.join(parts)}")
            record = self.known.run_records.get(number)
            if record is None or not (record.start_ms and record.end_ms and record.end_completion_ms):
                self._broken("record", f"the record of run {number} is not complete: {record}")
            elif record.condition is RunCondition.UNDEFINED or not record.end_reason:
                self._broken("record", f"run {number} is not judged: {record}")
            else:
                self.accounts.check_saved(record)
                if record.condition is not RunCondition.FAILED:
                    self.accounts.check_metrics(number, record.environment)

    def _check_deaths(self) -> None:
        """The death of a critical task has led to ERROR, or to the end of its environment."""
        for death in self.known.deaths:
            spec = death.spec
            env = self.known.environments.get(spec.environment)
            if env is None or env.name in self.known.orphans or not env.states:
                continue
            if not death.bad or not self.world.services.critical(spec.environment, spec.role):
                continue
            before = [state for at, state in env.states if at <= death.mono_s]
            after = [state for at, state in env.states if at > death.mono_s]
            soon = [state for at, state in env.states if death.mono_s < at < death.mono_s + DESTROYED_S]
            if before and before[-1] in (EnvState.ERROR, EnvState.DONE):
                continue
            if not after or after[0] not in (EnvState.ERROR, EnvState.DONE):
                if EnvState.ERROR in after or EnvState.DONE in soon or (before and before[-1] is EnvState.STANDBY):
                    continue
                self._broken(
                    "critical-death",
                    f"critical {spec.role} of {env.name} died at {death.mono_s:.2f} s and there was no ERROR",
                )

    def _check_calls(self) -> None:
        """Calls are made once, and each that has begun has ended."""
        seen: set[str] = set()
        for call in self.world.services.calls:
            if call.call in seen and call.function not in IDEMPOTENT:
                self._broken("calls", f"call {call.call} {call.function} of {call.role} was called twice")
            seen.add(call.call)
        for (environment, role), n in self.known.open_calls.items():
            if n:
                self._broken("calls", f"{environment}: call {role} has begun and never ended")

    def _check_answers(self) -> None:
        """Where nothing is wrong, no operation fails but for what was asked for."""
        for finished in self.known.answers.values():
            operation = self.world.shared.operations.get(finished.operation)
            if finished.code not in EXPECTED:
                request = operation and operation.request
                self._broken("calm", f"{request} ended with {finished.code} {finished.message}")

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)
