"""Who has which detector: locks that outlive the core and bind everybody, and environments that hold detectors.

A lock is needed by nobody, as in a small laboratory; but one that somebody else has binds all, admins too, who may
take it by force. Each change of hands has a number, the *fence*, that only grows. Two living environments never hold
the same detector, locked or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import attrs

from libecs.access import Principal, in_scope
from libecs.engine.effects import Effect, Now, Persist
from libecs.engine.environment import Environment
from libecs.engine.records import CORE, LOCK, LockRecord
from libecs.errors import Conflict, Denied, EcsError, UsageError, quoted
from libecs.fsm import EnvState
from libecs.language.program import suggest
from libecs.wire import client
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import LockInfo
from libecs.workflow.role import RoleKind, Workflow

FENCE = "fence"
"""Key of table `core`."""
DETECTORS, DETECTOR = "detectors", "detector"
"""Variables: of the root role, a list; of any role, one."""
NOBODY = "owner"
"""Who has a lock that was taken by somebody without a name, in his own process."""
MAX_DETECTORS = 1000
MAX_REASON = 500


class Book(Protocol):
    """What locks need of the core."""

    now: Now
    environments: dict[str, Environment]

    def emit(self, effect: Effect) -> None:
        """Add an effect."""

    def event(self, kind: str, environment: str = "", **fields: object) -> None:
        """Publish and journal an event."""


def when(unix_ms: int) -> str:
    """Return a time as messages name it."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{unix_ms} ms"


def read_list(text: str) -> tuple[str, ...]:
    """Return the names in a JSON list, or in a list with commas."""
    text = text.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = text.strip("[]").split(",")
        parts = [part if isinstance(part, str) else "" for part in found]
    else:
        parts = text.split(",")
    return tuple(dict.fromkeys(name for part in parts if (name := part.strip().strip("\"'"))))


def detectors_of(workflow: Workflow, excluded: Iterable[str] = ()) -> frozenset[str]:
    """Return the detectors that a workflow takes, but for those that only stand on excluded roles or below them.

    They are what variable `detectors` of the root says, else all values of `detector` that its tasks and calls see.
    What is set at run time counts for nothing: detectors are for the whole life of an environment.
    """
    names = tuple(excluded)
    taking, left = _by_roles(workflow, names)
    root = workflow.roles[0]
    chain: tuple[Mapping[str, str], ...] = (
        workflow.user_vars,
        root.vars,
        workflow.base_vars,
        root.defaults,
        workflow.base_defaults,
    )
    listed = next((table[DETECTORS] for table in chain if DETECTORS in table), "")
    named = frozenset(read_list(listed))
    return named - (left - taking) if named else taking


def _by_roles(workflow: Workflow, excluded: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the values of `detector` that tasks and calls see, and those of excluded ones."""
    user = workflow.user_vars.get(DETECTOR, "")
    installation = workflow.base_vars.get(DETECTOR, ""), workflow.base_defaults.get(DETECTOR, "")
    taking: set[str] = set()
    left: set[str] = set()
    strong: list[str] = []
    weak: list[str] = []
    out: list[bool] = []
    for role in workflow.roles:
        above = role.parent
        inherited = (strong[above], weak[above]) if above >= 0 else installation
        strong.append(role.vars.get(DETECTOR) or inherited[0])
        weak.append(role.defaults.get(DETECTOR) or inherited[1])
        out.append((above >= 0 and out[above]) or role.path in excluded)
        name = user or strong[-1] or weak[-1]
        if name and role.kind is not RoleKind.AGGREGATOR:
            (left if out[-1] else taking).update(read_list(name))
    return frozenset(taking), frozenset(left)


class Locks:
    """All locks, by detector, and the detectors of living environments."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._known: dict[str, tuple[Workflow, tuple[str, ...], frozenset[str]]] = {}
        self.held: dict[str, LockRecord] = {}
        self.fence = 0

    def load(self, detector: str, value: bytes) -> None:
        """Take over a record of an earlier life. Raises DecodeError."""
        record = unpack_value(LockRecord, value)
        self.held[detector] = record
        self.fence = max(self.fence, record.fence)

    # detectors of environments

    def of(self, env: Environment) -> frozenset[str]:
        """Return the detectors that take part in an environment; none before it is expanded."""
        workflow, excluded = env.workflow, env.record.excluded
        if workflow is None:
            return frozenset()
        known = self._known.get(env.id)
        if known is None or known[0] is not workflow or known[1] != excluded:
            known = self._known[env.id] = (workflow, excluded, detectors_of(workflow, excluded))
        return known[2]

    def forget(self, environment: str) -> None:
        """An environment is gone."""
        self._known.pop(environment, None)

    def in_use(self) -> frozenset[str]:
        """Return the detectors of all living environments."""
        return frozenset().union(*(self.of(env) for env in self._book.environments.values()))

    # who may

    def problem(self, detectors: frozenset[str], requester: str, what: str) -> Denied | None:
        """Return why somebody may not touch what holds these detectors: another one has locked one of them."""
        for name in sorted(detectors):
            lock = self.held.get(name)
            if lock is not None and lock.owner != (requester or NOBODY):
                return Denied(
                    f"{what} holds detector {name}, which {_says(lock)}",
                    hint=f"ask {lock.owner} for it, or an admin: coconut lock take {name} --force",
                )
        return None

    def conflict(self, env: str, detectors: frozenset[str]) -> Conflict | None:
        """Return why environment `env` can't take these detectors: another living one has one of them."""
        if not detectors:
            return None
        for other in self._book.environments.values():
            if other.id == env or other.state is EnvState.DONE:
                continue
            if both := sorted(self.of(other) & detectors):
                return Conflict(
                    f"{_detectors(both)} in use by environment {other.id} ({other.record.name}, {other.state.name}, "
                    f"of {other.record.requester or NOBODY})",
                    hint=f"exclude them, or destroy environment {other.id}",
                )
        return None

    def obstacle(
        self, env: Environment, detectors: frozenset[str], requester: str, scope: frozenset[str] | None
    ) -> EcsError | None:
        """Return why an environment may not have these detectors, None if it may: asked when a plan begins."""
        if scope is not None and (others := sorted(detectors - scope)):
            return Denied(f"environment {env.id} takes {_detectors(others)} beyond the scope of {requester}")
        return self.problem(detectors, requester, f"environment {env.id}") or self.conflict(env.id, detectors)

    # taking and giving

    def lock(self, message: client.Lock, principal: Principal) -> str:
        """Take detectors, all or none; return their fences as JSON.

        Raises:
            UsageError: none are named.
            Denied: one is beyond the scope of who asks.
            Conflict: one is somebody else's. He is told.
        """
        names = _names(message.detectors)
        if not principal_may(principal, names):
            raise Denied(f"{message.requester} may not lock {_detectors(sorted(names))}: {_scope(principal)}")
        owner = message.requester or NOBODY
        taken = {name: lock for name in names if (lock := self.held.get(name)) and lock.owner != owner}
        if taken and not message.force:
            for name in taken:
                how = f"{owner} asks {taken[name].owner} for it{_because(message.reason)}"
                self._event(name, "REQUESTED", how, False)
            name, lock = next(iter(taken.items()))
            raise Conflict(
                f"detector {name} {_says(lock)}",
                hint=f"ask {lock.owner} for it, or an admin: coconut lock take {name} --force",
            )
        for name in names:
            old = self.held.get(name)
            if old is not None and old.owner == owner:
                if message.renew and message.reason:
                    self._renew(name, old, message.reason[:MAX_REASON])
                continue
            how = f"{owner} has it{_because(message.reason)}"
            if old is not None:
                how = f"{owner} has taken it from {old.owner}{_because(message.reason)}"
            self._put(name, owner, message.reason[:MAX_REASON])
            self._event(name, "FORCED" if old is not None else "TAKEN", how, True)
        return json.dumps({name: self.held[name].fence for name in names})

    def strangers(self, detectors: Iterable[str], inventory: Iterable[str]) -> str:
        """Return a warning about detectors that neither the inventory nor a living environment knows, "" if all are
        known, or nothing is. They may be new, and then there is nothing wrong with a lock; or a slip of the pen.
        """
        known = {*inventory, *self.in_use()}
        unknown = [name for name in detectors if name not in known]
        if not known or not unknown:
            return ""
        text = f"nothing here knows {_detectors(unknown)}, and the lock is yours all the same"
        guess = suggest(unknown[0], sorted(known))
        return f"{text}; {guess}" if guess else text

    def unlock(self, message: client.Unlock) -> str:
        """Give detectors back; return which, as JSON. One that nobody has is given back already.

        Raises:
            Denied: one is somebody else's.
        """
        owner = message.requester or NOBODY
        names = _names(message.detectors) if message.detectors else self._of(owner)
        for name in names:
            lock = self.held.get(name)
            if lock is not None and lock.owner != owner and not message.force:
                raise Denied(
                    f"detector {name} {_says(lock)}, and {owner} can't give it back",
                    hint=f"ask {lock.owner} for it, or an admin: coconut lock release {name} --force",
                )
        given = [name for name in names if name in self.held]
        for name in given:
            lock = self.held.pop(name)
            self._book.emit(Persist(LOCK, name, None))
            text = f"{lock.owner} has given it back"
            if lock.owner != owner:
                text = f"{owner} has taken it from {lock.owner} and given it back{_because(message.reason)}"
            self._event(name, "RELEASED", text, True)
        return json.dumps(given)

    def _of(self, owner: str) -> tuple[str, ...]:
        return tuple(name for name, lock in self.held.items() if lock.owner == owner)

    def _put(self, name: str, owner: str, reason: str) -> None:
        self.fence += 1
        record = LockRecord(owner=owner, since_ms=self._book.now.unix_ms, reason=reason, fence=self.fence)
        self.held[name] = record
        self._book.emit(Persist(LOCK, name, pack_value(record)))
        self._book.emit(Persist(CORE, FENCE, str(self.fence).encode()))

    def _renew(self, name: str, old: LockRecord, reason: str) -> None:
        """The lock stays as it is, with its fence and its age, for another reason."""
        if reason != old.reason:
            record = self.held[name] = attrs.evolve(old, reason=reason)
            self._book.emit(Persist(LOCK, name, pack_value(record)))
            self._event(name, "TAKEN", f"{old.owner} keeps it{_because(reason)}", True)

    def _event(self, name: str, state: str, text: str, ok: bool) -> None:
        self._book.event("lock", name=name, state=state, text=text, ok=ok)

    def infos(self) -> tuple[LockInfo, ...]:
        """Return all locks as clients see them."""
        return tuple(
            LockInfo(detector=name, owner=one.owner, since_ms=one.since_ms, reason=one.reason, fence=one.fence)
            for name, one in sorted(self.held.items())
        )


def principal_may(principal: Principal, detectors: Iterable[str]) -> bool:
    """Whether all of these detectors are in somebody's scope."""
    return in_scope(principal, frozenset(detectors))


def _names(detectors: Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(detectors))
    if not names:
        raise UsageError("no detector is named")
    if len(names) > MAX_DETECTORS:
        raise UsageError(f"{len(names)} detectors at once; {MAX_DETECTORS} are allowed")
    for name in names:
        if not name or len(name) > 100 or not name.isprintable() or "," in name:
            raise UsageError(f"{quoted(name)} is no name of a detector")
    return names


def _says(lock: LockRecord) -> str:
    return f"has been locked by {lock.owner} since {when(lock.since_ms)}{_because(lock.reason)}"


def _because(reason: str) -> str:
    return f" ({reason[:MAX_REASON]})" if reason else ""


def _detectors(names: Iterable[str]) -> str:
    names = list(names)
    return f"detector{'s' * (len(names) != 1)} {', '.join(names)}"


def _scope(principal: Principal) -> str:
    return f"his detectors are {', '.join(sorted(principal.detectors or ())) or 'none'}"
