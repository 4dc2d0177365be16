"""What `--json` tells of environments, tasks, nodes, locks, operations and events. Times are unix milliseconds."""

from __future__ import annotations

from typing import Any

import attrs

from libecs.wire.client import CoreInfo, Finished
from libecs.wire.info import EnvironmentInfo, Event, LockInfo, NodeInfo, OperationInfo, RoleInfo, TaskInfo


def environment_document(info: EnvironmentInfo, *, whole: bool) -> dict[str, Any]:
    """Return an environment; `whole`: with its roles, tasks and variables."""
    document: dict[str, Any] = {
        "environment": info.environment,
        "name": info.name,
        "workflow": info.workflow,
        "revision": info.revision,
        "state": info.state.name,
        "transition": info.transition,
        "step": info.step,
        "run_number": info.run_number or None,
        "last_run_number": info.last_run_number or None,
        "created_ms": info.created_ms,
        "requester": info.requester,
        "detectors": list(info.detectors),
        "excluded": list(info.excluded),
        "auto": info.auto,
        "operation": info.operation,
        "cause": info.cause,
        "failures": dict(info.failures),
    }
    if whole:
        document["variables"] = dict(sorted(info.variables.items()))
        document["roles"] = [role_document(role) for role in info.roles]
        document["tasks"] = [task_document(task) for task in info.tasks]
    return document


def role_document(role: RoleInfo) -> dict[str, Any]:
    """Return a role."""
    return {
        "path": role.path,
        "kind": role.kind,
        "state": role.state.name,
        "status": role.status.name,
        "critical": role.critical,
        "excluded": role.excluded,
        "min": role.min,
    }


def task_document(task: TaskInfo) -> dict[str, Any]:
    """Return a task."""
    return {
        "task": task.task,
        "environment": task.environment,
        "role": task.role,
        "class": task.class_name,
        "mode": task.mode,
        "node": task.node,
        "critical": task.critical,
        "hook": task.hook,
        "phase": task.phase.name,
        "state": task.state.name,
        "pid": task.pid,
        "age_ms": task.age_ms,
        "exit": task.exit.describe() if task.exit is not None else None,
        "error": task.error,
        "last_log": task.last_log,
        "stalled": task.stalled,
        "end_of_stream": task.end_of_stream,
        "attached": task.attached,
        "excluded": task.excluded,
        "orphan": task.orphan,
    }


def node_document(node: NodeInfo) -> dict[str, Any]:
    """Return a node."""
    return {**attrs.asdict(node), "attributes": dict(node.attributes), "facts": dict(node.facts)}


def lock_document(lock: LockInfo) -> dict[str, Any]:
    """Return a detector that somebody has."""
    return attrs.asdict(lock)


def operation_document(operation: OperationInfo) -> dict[str, Any]:
    """Return an operation."""
    return attrs.asdict(operation)


def core_document(info: CoreInfo) -> dict[str, Any]:
    """Return what a core is."""
    document = {key: value for key, value in attrs.asdict(info).items() if key != "request"}
    return {**document, "detectors": list(info.detectors), "facts": dict(info.facts), "problems": list(info.problems)}


def finished_document(finished: Finished) -> dict[str, Any]:
    """Return how an operation ended."""
    return {
        "operation": finished.operation,
        "environment": finished.environment,
        "state": finished.state.name,
        "run_number": finished.run_number or None,
        "message": finished.message,
    }


def event_document(event: Event) -> dict[str, Any]:
    """Return an event: what it is, and of the rest what says something."""
    document: dict[str, Any] = {"sequence": event.sequence, "unix_ms": event.unix_ms, "kind": event.kind}
    for field in attrs.fields(Event):
        value = getattr(event, field.name)
        if field.name not in document and value not in ("", 0, ()):
            document[field.name.rstrip("_")] = value
    if event.tasks:
        document["tasks"] = {path: state.name for path, state in event.tasks}
    document["ok"] = event.ok
    return document
