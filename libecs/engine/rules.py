"""What somebody may ask for, checked on the very object that is executed, and what the audit log says of it.

`libecs.access.VERBS` is the only table. A name in a message counts for nothing: `asked_by` overwrites it with the name
of the key that the link has seen, but for the owner of an embedded control system, who says himself who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attrs

from libecs.access import OWNER, VERBS, Principal, Role, may
from libecs.engine.effects import Audit
from libecs.engine.environment import Environment
from libecs.engine.locks import Locks, read_list
from libecs.engine.records import OperationRecord
from libecs.errors import Denied, EcsError, quoted
from libecs.wire import client, node

M = TypeVar("M")

MAX_TEXT = 500
"""Characters of one text in the audit log."""
SECRET = ("password", "passwd", "secret", "token", "credential", "private_key")
"""Parts of names whose values are nobody's business."""
MASK = "***"

FromNode = (
    node.NodeHello
    | node.Announce
    | node.Update
    | node.Answer
    | node.NodeKeepalive
    | node.Fenced
    | node.Telemetry
    | node.OutputRead
)
"""What executors say."""


def verb_of(message: object) -> str:
    """Return the name of a request in `VERBS`."""
    name = type(message).__name__
    if isinstance(message, client.Work):
        return f"Work.{message.name}"
    if isinstance(message, client.Consult):
        return f"Consult.{message.subject}"
    if isinstance(message, (client.Lock, client.Unlock)) and message.force:
        return f"{name}.force"
    return name


def asked_by(message: M, principal: Principal) -> M:
    """Return a request with the name of who really asks."""
    if principal.name and getattr(message, "requester", principal.name) != principal.name:
        # mypy does not know that each message is an attrs class: a table of the codec takes no other
        named: M = attrs.evolve(message, requester=principal.name)  # type: ignore[misc]
        return named
    return message


def is_owner(principal: Principal) -> bool:
    """Whether somebody uses a control system in his own process."""
    return not principal.name and principal.role is Role.ADMIN


def speaks_for(principal: Principal, node_name: str) -> bool:
    """Whether somebody may speak as the executor of a node. Without keys, a link for telemetry has said no name."""
    return is_owner(principal) or (principal.role is Role.NODE and principal.name in ("", node_name))


def denial(principal: Principal, verb: str) -> Denied | None:
    """Return why the role of somebody does not allow a verb, None if it does."""
    if may(principal, verb):
        return None
    known = VERBS.get(verb)
    if known is None:
        return Denied(f"{described(principal)} asks for {quoted(verb)}, which nobody may: there is no such verb")
    roles = " or ".join(role.name.lower() for role in Role if role in known.roles)
    return Denied(
        f"{described(principal)} may not {verb}: that is for {roles}", hint="ask an admin for a key with another role"
    )


def described(principal: Principal) -> str:
    """Return somebody as messages name him."""
    name = principal.name or "the owner"
    scope = "" if principal.detectors is None else f" of {', '.join(sorted(principal.detectors)) or 'no detector'}"
    return f"{name} ({principal.role.name.lower()}{scope})"


def trespass(
    locks: Locks,
    environments: Mapping[str, Environment],
    owner_of: Mapping[str, Environment],
    message: object,
    who: Principal,
) -> Denied | None:
    """Return why somebody may not touch what a request is about: it is beyond his scope, or another has locked it."""
    verb = VERBS.get(verb_of(message))
    if verb is None or not verb.locks:
        return None
    requester: str = getattr(message, "requester", "") or who.name
    for what, detectors in _touched(locks, environments, owner_of, message):
        if who.detectors is not None and (others := sorted(detectors - who.detectors)):
            return Denied(
                f"{described(who)} may not touch {what}: it holds {', '.join(others)}",
                hint="ask an admin for these detectors, or somebody who has them",
            )
        if problem := locks.problem(detectors, requester, what):
            return problem
    loading = environments.get(getattr(message, "environment", ""))
    if loading is None or loading.workflow is not None or who.detectors is None:
        return None
    if loading.record.requester == requester:
        return None
    return Denied(
        f"{described(who)} may not touch environment {loading.id}: it is being loaded for "
        f"{loading.record.requester or 'its owner'}, and nobody knows yet which detectors it holds",
        hint="ask again in a moment",
    )


def _touched(
    locks: Locks, environments: Mapping[str, Environment], owner_of: Mapping[str, Environment], message: object
) -> Iterable[tuple[str, frozenset[str]]]:
    """Return what a request touches, in words, and the detectors there. What does not exist is touched by nobody."""
    if isinstance(message, client.Create):
        yield "the environment", _asked_for(message.variables)
        return
    if isinstance(message, client.EndTasks):
        chosen = [owner_of[task] for task in message.tasks if task in owner_of] if message.force else []
    else:
        names = [getattr(message, "environment", ""), getattr(message, "take_from", "")]
        chosen = [environments[name] for name in names if name in environments]
    for env in dict.fromkeys(chosen):
        yield f"environment {env.id}", _asked_for(env.record.variables) if env.workflow is None else locks.of(env)


def _asked_for(variables: Mapping[str, str]) -> frozenset[str]:
    """Return the detectors that a request names: all that is known of an environment before its workflow is loaded."""
    return frozenset(read_list(variables.get("detectors") or variables.get("detector") or ""))


# the audit log


def object_of(message: object, environment: str = "") -> str:
    """Return what a request is about, for the audit log."""
    for name in ("environment", "node", "run"):
        if value := getattr(message, name, ""):
            return str(value)
    for name in ("detectors", "tasks"):
        if values := getattr(message, name, ()):
            return values if isinstance(values, str) else ",".join(values)[:MAX_TEXT]
    return environment


def arguments_of(message: object) -> str:
    """Return the arguments of a request, for the audit log. Secrets are masked, long texts are cut."""
    told: list[str] = []
    for field in attrs.fields(type(message)):  # type: ignore[arg-type] # each message is an attrs class
        value: Any = getattr(message, field.name)
        if field.name in ("operation", "request", "requester", "environment", "files") or value == field.default:
            continue
        if isinstance(value, Mapping):
            if not value:
                continue
            value = ",".join(f"{name}={text}" for name, text in masked(value).items())
        elif isinstance(value, tuple):
            if not value:
                continue
            value = ",".join(map(str, value))
        told.append(f"{field.name}={getattr(value, 'name', value)}")
    text = " ".join(told)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def masked(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of secrets hidden."""
    return {name: MASK if text and is_secret(name) else text for name, text in variables.items()}


def is_secret(name: str) -> bool:
    """Return whether a variable of this name holds what viewers and logs are not told."""
    return any(part in name.lower() for part in SECRET)


def asked(message: object, who: Principal, decision: str, text: str = "", environment: str = "") -> Audit:
    """Return the line about a request when it comes: `accepted`, `denied` or `refused`."""
    return Audit(
        verb=verb_of(message)[:MAX_TEXT],
        principal=who,
        requester=getattr(message, "requester", "") or who.name,
        object=object_of(message, environment),
        operation=getattr(message, "operation", "")[:MAX_TEXT],
        decision=decision,
        text=(text or arguments_of(message))[:MAX_TEXT],
    )


def answer_for(who: Principal, record: OperationRecord, answer: client.Finished) -> client.Finished:
    """Return the end of an operation as somebody may see it."""
    if record.shown and who.role is Role.VIEWER:
        return attrs.evolve(answer, message=record.shown, hint="", cause="", failures={})
    return answer


def ended(record: OperationRecord, code: str, message: str) -> Audit:
    """Return the line about the end of an operation."""
    who = Principal(
        name=record.owner,
        role=Role(record.role) if record.role in Role.__members__.values() else OWNER.role,
        key=record.key,
        via=record.via,
    )
    return Audit(
        verb=record.verb,
        principal=who,
        requester=record.requester,
        object=record.object or record.environment,
        operation=record.operation,
        decision="failed" if code else "done",
        text=f"{code} {message}"[:MAX_TEXT] if code else "",
    )


def error_text(error: EcsError) -> str:
    """Return an error for the audit log."""
    return f"{error.code} {error.message}"[:MAX_TEXT]
