"""The rules of the house, for the checker: who may do what, whose detector it is, and what the audit log must say.

They are read from what the core commits and from its audit log, never from what it believes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from libecs.access import VERBS, Role
from libecs.engine.effects import Audit
from libecs.engine.locks import detectors_of
from libecs.engine.records import ENVIRONMENT, LOCK, OPERATION, WORKFLOW, EnvironmentRecord, LockRecord, OperationRecord
from libecs.fsm import EnvState
from libecs.sim.history import History
from libecs.wire.client import Finished
from libecs.wire.codec import unpack_value
from libecs.wire.info import Event
from libecs.workflow.role import Workflow

if TYPE_CHECKING:
    from libecs.sim.world import World


class House:
    """What is known of locks, lines and ends."""

    def __init__(self, world: World, history: History) -> None:
        self.world = world
        self.history = history
        self.lines: dict[str, list[str]] = {}
        """Operation to the decisions of its lines."""
        self.locks: dict[str, LockRecord] = {}
        """As they are on disk."""
        self.holders: dict[str, str] = {}
        """As the audit log has them."""
        self.fence = 0
        self.ends: set[str] = set()
        self.shot: set[str] = set()
        """Environments of which somebody has ended tasks."""
        self.drained = False
        self.ends_orphans = False
        self.counts = {"denied": 0, "locks": 0, "autos": 0}
        self._workflows: dict[str, Workflow] = {}
        self._taken: dict[str, frozenset[str]] = {}

    def forget(self) -> None:
        """The core has lost its records."""
        self.locks.clear()
        self.holders.clear()
        self.ends.clear()
        self._workflows.clear()
        self._taken.clear()
        self.fence = 0

    def core_died(self) -> None:
        """What the last tick has written about was perhaps not done: the disk knows."""
        self.holders = {name: lock.owner for name, lock in self.locks.items()}

    # the audit log

    def audited(self, line: Audit) -> None:
        """See a line: who does what was allowed to, by his role and by the locks."""
        if line.operation:
            self.lines.setdefault(line.operation, []).append(line.decision)
        if line.decision == "denied":
            self.counts["denied"] += 1
            return
        if line.decision != "accepted":
            return
        verb = VERBS.get(line.verb)
        if verb is None or line.principal.role not in verb.roles or line.principal.name == "evil":
            self._broken("allowed", f"{line.principal} may not {line.verb}, and does ({line.operation})")
            return
        if line.principal.name and line.requester != line.principal.name:
            self._broken("allowed", f"{line.operation} is done for {line.requester}, asked by {line.principal.name}")
        if line.verb.startswith(("Lock", "Unlock")):
            self._lock(line)
        elif line.verb in ("Control", "Destroy", "Reconfigure", "Modify"):
            self._touched(line, line.object)
        elif line.verb == "EndTasks":
            self.ends_orphans = True
            for task in line.object.split(",") if "force" in line.text else ():
                if task in self.world.checker.modifications.idle:
                    continue  # it is nobody's now, whoever launched it
                environment = task.partition("t")[0]
                self.shot.add(environment)
                self._touched(line, environment)
        elif line.verb == "Drain":
            self.drained = True

    def _lock(self, line: Audit) -> None:
        self.counts["locks"] += 1
        names = [name for name in line.object.split(",") if name]
        if line.verb.startswith("Unlock"):
            for name in names or list(self.holders):
                if self.holders.get(name) == line.requester or (line.verb == "Unlock.force" and names):
                    self.holders.pop(name, None)
                elif names and name in self.holders:
                    self._broken("lock", f"{line.requester} gives back {name}, which {self.holders[name]} has")
            return
        for name in names:
            holder = self.holders.get(name, line.requester)
            if holder != line.requester and line.verb == "Lock":
                self._broken("lock", f"{line.requester} takes {name}, which {holder} has")
            self.holders[name] = line.requester

    def _touched(self, line: Audit, environment: str) -> None:
        who = line.requester or "owner"
        for name in self._taken.get(environment, frozenset()):
            holder = self.holders.get(name, who)
            if holder != who:
                self._broken("lock", f"{who} acts on {environment} ({line.verb}), and {holder} has locked {name}")
            scope = line.principal.detectors
            if scope is not None and name not in scope:
                self._broken("allowed", f"{who} acts on {environment} ({line.verb}), and {name} is beyond his scope")

    # what is on disk

    def committed(self, records: Mapping[tuple[str, str], bytes | None]) -> None:
        """See records that are on disk now."""
        for (table, key), value in records.items():
            if table == LOCK:
                self._lock_record(key, None if value is None else unpack_value(LockRecord, value))
            elif table == OPERATION and value is not None:
                self._operation_record(unpack_value(OperationRecord, value))
            elif table == WORKFLOW:
                self._workflows.pop(key, None)
                self._taken.pop(key, None)
                if value is not None:
                    self._workflows[key] = unpack_value(Workflow, value)
        for (table, key), value in records.items():
            if table == ENVIRONMENT and key in self._workflows:
                self._environment_record(key, None if value is None else unpack_value(EnvironmentRecord, value))

    def _lock_record(self, name: str, lock: LockRecord | None) -> None:
        old = self.locks.pop(name, None)
        if lock is None:
            return
        self.locks[name] = lock
        changed = old is None or (old.owner, old.since_ms) != (lock.owner, lock.since_ms)
        if changed and lock.fence <= self.fence:
            self._broken("lock", f"{name} changes hands, and its fence is {lock.fence} after {self.fence}")
        self.fence = max(self.fence, lock.fence)

    def _operation_record(self, record: OperationRecord) -> None:
        verb = VERBS.get(record.verb)
        if verb is None or Role(record.role) not in verb.roles:
            self._broken("allowed", f"{record.operation} is {record.verb} of a {Role(record.role).name}, on record")
        if not self.lines.get(record.operation):
            self._broken("audit", f"{record.operation} ({record.verb}) is on record and in no line")

    def _environment_record(self, key: str, record: EnvironmentRecord | None) -> None:
        if record is None or record.state is EnvState.DONE:
            self._taken.pop(key, None)
            return
        mine = self._taken[key] = detectors_of(self._workflows[key], record.excluded)
        for other, taken in self._taken.items():
            if other != key and (both := mine & taken):
                self._broken("detector", f"{key} and {other} both hold {', '.join(sorted(both))}")

    def event(self, event: Event) -> None:
        """See an event that is on disk now."""
        if event.kind == "operation.end":
            if event.name in self.ends:
                self._broken("one-end", f"operation {event.name} ends twice")
            self.ends.add(event.name)

    def excuses(self, environment: str, *transitions: str) -> bool:
        """Whether an environment may go to ERROR because of what somebody was allowed to do."""
        return environment in self.shot or (self.drained and bool({"DEPLOY", "RECOVER", "MODIFY"} & set(transitions)))

    def auto_answered(self, finished: Finished, state: EnvState | None) -> None:
        """See the answer to who asked for an environment that takes one run: it is over."""
        self.counts["autos"] += 1
        if state not in (None, EnvState.DONE):
            self._broken("auto", f"{finished.operation} is answered, and {finished.environment} is {state}")
        if not finished.code and not finished.run_number:
            self._broken("auto", f"{finished.operation} is done, and took no run")

    def answered(self, finished: Finished) -> None:
        """See an answer: it has its line."""
        lines = self.lines.get(finished.operation, [])
        if not lines:
            self._broken("audit", f"{finished.operation} is answered and in no line")
        elif finished.code == "E_DENIED" and not {"denied", "failed"} & set(lines):
            self._broken("audit", f"{finished.operation} is denied, and its lines say {lines}")
        elif not finished.code and "accepted" not in lines:
            self._broken("audit", f"{finished.operation} is done, and its lines say {lines}")

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)
