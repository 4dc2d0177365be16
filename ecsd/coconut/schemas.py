"""JSON Schemas of what `--json` prints, by the name that a document gives as `schema`.

Keys are only added, never renamed or removed; a document that had to change otherwise would be `…/2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXTS: Schema = {"type": "array", "items": TEXT}
MAP: Schema = {"type": "object", "additionalProperties": TEXT}
ANY_MAP: Schema = {"type": "object"}
ANY: Schema = {}


def maybe(schema: Schema) -> Schema:
    """Return a schema that allows null too."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def object_(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object; more keys may come."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


ERROR = object_({"code": TEXT, "message": TEXT}, {"exit_code": WHOLE, "hint": TEXT, "cause": TEXT, "failures": MAP})

TASK = object_(
    {
        "task": TEXT, "environment": TEXT, "role": TEXT, "class": TEXT, "mode": TEXT, "node": TEXT, "critical": FLAG,
        "hook": FLAG, "phase": TEXT, "state": TEXT, "pid": WHOLE, "age_ms": WHOLE, "exit": maybe(TEXT), "error": TEXT,
        "last_log": TEXT, "stalled": FLAG, "end_of_stream": FLAG, "attached": FLAG, "excluded": FLAG, "orphan": FLAG,
    }
)  # fmt: skip
ROLE = object_(
    {"path": TEXT, "kind": TEXT, "state": TEXT, "status": TEXT, "critical": FLAG, "excluded": FLAG, "min": WHOLE}
)
_ENVIRONMENT = {
    "environment": TEXT, "name": TEXT, "workflow": TEXT, "revision": TEXT, "state": TEXT, "transition": TEXT,
    "step": TEXT, "run_number": maybe(WHOLE), "last_run_number": maybe(WHOLE), "created_ms": WHOLE, "requester": TEXT,
    "detectors": TEXTS, "excluded": TEXTS, "auto": FLAG, "operation": TEXT, "cause": TEXT, "failures": MAP,
}  # fmt: skip
ENVIRONMENT = object_(_ENVIRONMENT)
NODE = object_(
    {
        "node": TEXT, "host": TEXT, "reach": {"enum": ["UP", "SUSPECT", "LOST", "AWAY"]}, "age_ms": WHOLE,
        "tasks": WHOLE, "idle": WHOLE, "orphans": WHOLE, "cpus": NUMBER, "used_cpus": NUMBER, "memory_mb": NUMBER,
        "used_memory_mb": NUMBER, "attributes": MAP, "facts": MAP, "drained": FLAG, "reason": TEXT,
    }
)  # fmt: skip
LOCK = object_({"detector": TEXT, "owner": TEXT, "since_ms": WHOLE, "reason": TEXT, "fence": WHOLE})
OPERATION = object_(
    {
        "operation": TEXT, "environment": TEXT, "verb": TEXT, "requester": TEXT, "begun_ms": WHOLE, "done": FLAG,
        "code": TEXT, "message": TEXT, "event": TEXT,
    }
)  # fmt: skip
FINDING = object_({"code": TEXT, "severity": TEXT, "message": TEXT, "hint": TEXT}, {"file": TEXT, "line": WHOLE})
METRIC = object_(
    {
        "role": TEXT, "name": TEXT, "unit": TEXT, "n": WHOLE, "sum": maybe(NUMBER), "min": maybe(NUMBER),
        "max": maybe(NUMBER), "last": maybe(NUMBER), "last_ms": WHOLE, "mean": maybe(NUMBER),
    }
)  # fmt: skip
_RUN_HEAD = {
    "number": WHOLE, "condition": {"enum": ["UNDEFINED", "GOOD", "DEGRADED", "FAILED"]}, "end_reason": TEXT,
    "cause": TEXT, "comment": TEXT, "environment": TEXT, "workflow": TEXT, "revision": TEXT, "requester": TEXT,
    "start_ms": maybe(WHOLE), "start_completion_ms": maybe(WHOLE), "end_ms": maybe(WHOLE),
    "end_completion_ms": maybe(WHOLE), "nodes": TEXTS,
    "degraded": many(object_({"role": TEXT, "reason": TEXT, "start_ms": WHOLE, "end_ms": maybe(WHOLE)})),
    "dropped": WHOLE, "folder": TEXT, "request": TEXT,
    "notes": many(object_({"unix_ms": WHOLE, "author": TEXT, "text": TEXT})), "tags": MAP, "excluded": TEXTS,
    "detectors": TEXTS,
}  # fmt: skip
RUN = object_(
    {
        **_RUN_HEAD, "metrics": many(METRIC), "files": TEXTS, "variables": MAP, "configuration": MAP,
        "user_variables": MAP, "placement": MAP,
    }
)  # fmt: skip
PLACE = object_({"name": TEXT, "place": TEXT, "revision": TEXT, "default": FLAG, "error": TEXT})
CONTEXT = object_({"name": TEXT, "endpoint": TEXT, "core_key": TEXT, "key_file": TEXT, "source": TEXT, "current": FLAG})
CORE = object_(
    {
        "instance": TEXT, "version": TEXT, "epoch": WHOLE, "started_ms": WHOLE, "unix_ms": WHOLE, "sequence": WHOLE,
        "environments": WHOLE, "tasks": WHOLE, "nodes": WHOLE, "you": TEXT, "role": TEXT, "detectors": TEXTS,
        "facts": MAP, "problems": TEXTS,
    }
)  # fmt: skip
_TAKING = {
    "workflow": TEXT, "revision": TEXT, "environment": TEXT, "nodes": TEXTS, "runs": many(RUN), "tasks": many(TASK),
    "transitions": many(ANY_MAP), "calls": many(ANY_MAP), "problems": TEXTS, "ok": FLAG, "exit_code": WHOLE,
}  # fmt: skip
_TEMPLATES = {"repository": TEXT, "revision": TEXT}
_PAIR = {"type": "array", "minItems": 2, "maxItems": 2}
_MAPS = ("user_variables", "variables", "configuration", "placement", "tags")
_SETS = {name: object_({"only_first": TEXTS, "only_second": TEXTS}) for name in ("detectors", "nodes", "excluded")}
_CHANGES: dict[str, Schema] = {name: {"type": "object", "additionalProperties": _PAIR} for name in _MAPS}
_LINE = {"role": TEXT, "node": TEXT, "stream": TEXT, "text": TEXT, "unix_ms": maybe(WHOLE)}

SCHEMAS: dict[str, Schema] = {
    "ecs/about/1": object_({"version": TEXT, "python": TEXT, "platform": TEXT, "state": TEXT, "runs": TEXT}),
    "ecs/audit-tail/1": object_({"lines": many(ANY_MAP)}),
    "ecs/audit-verify/1": object_({"lines": WHOLE, "first": WHOLE, "last": WHOLE, "hash": TEXT}),
    "ecs/completion/1": object_({"shell": TEXT, "script": TEXT}),
    "ecs/context/1": CONTEXT,
    "ecs/context-list/1": object_({"contexts": many(CONTEXT)}),
    "ecs/demo/1": object_(_TAKING, {"error": ERROR, "books": many(ANY_MAP)}),
    "ecs/destroy-plan/1": object_(
        {
            "environment": TEXT,
            "state": TEXT,
            "run_number": maybe(WHOLE),
            "allowed": FLAG,
            "ends": TEXTS,
            "keeps": TEXTS,
            "let_go": TEXTS,
        }
    ),
    "ecs/doctor/1": object_(
        {"ok": FLAG, "checks": many(object_({"name": TEXT, "ok": FLAG, "text": TEXT, "fix": TEXT}))}
    ),
    "ecs/drain/1": object_({"node": TEXT, "drained": FLAG, "reason": TEXT, "tasks": WHOLE}),
    "ecs/environment/1": object_({**_ENVIRONMENT, "variables": MAP, "roles": many(ROLE), "tasks": many(TASK)}),
    "ecs/environment-list/1": object_({"environments": many(ENVIRONMENT)}),
    "ecs/environment-plan/1": object_(
        {"workflow": TEXT, "ok": FLAG, "missing": TEXTS},
        {
            "repository": TEXT,
            "revision": TEXT,
            "tree": ANY_MAP,
            "placement": many(ANY_MAP),
            "unplaced": MAP,
            "transitions": many(ANY_MAP),
            "notes": TEXTS,
            "error": ERROR,
        },
    ),
    "ecs/event/1": object_(
        {"sequence": WHOLE, "unix_ms": WHOLE, "kind": TEXT, "ok": FLAG},
        {"environment": TEXT, "state": TEXT, "run_number": WHOLE, "tasks": MAP, "text": TEXT},
    ),
    "ecs/info/1": CORE,
    "ecs/install-units/1": ANY_MAP,
    "ecs/invitation/1": object_({"token": TEXT, "line": TEXT}),
    "ecs/key-approve/1": ANY_MAP,
    "ecs/key-core/1": object_({"key": TEXT, "next_key": TEXT, "from_ms": WHOLE, "told": TEXTS, "untold": TEXTS}),
    "ecs/key-list/1": ANY_MAP,
    "ecs/key-revoke/1": ANY_MAP,
    "ecs/key-rotate/1": ANY_MAP,
    "ecs/line/1": object_(_LINE, {"severity": TEXT, "run": maybe(WHOLE)}),
    "ecs/lock/1": object_({"done": TEXT, "detectors": TEXTS, "locks": many(LOCK)}, {"warning": TEXT}),
    "ecs/lock-list/1": object_({"locks": many(LOCK)}),
    "ecs/login/1": ANY_MAP,
    "ecs/modify-plan/1": object_(
        {
            "environment": TEXT,
            "state": TEXT,
            "run_number": maybe(WHOLE),
            "allowed": FLAG,
            "excludes": TEXTS,
            "includes": TEXTS,
            "stays": TEXTS,
        }
    ),
    "ecs/node/1": {**NODE, "properties": {**NODE["properties"], "held": many(TASK)}},
    "ecs/node-list/1": object_({"nodes": many(NODE)}),
    "ecs/operation/1": object_(
        {
            "verb": TEXT,
            "operation": TEXT,
            "environment": TEXT,
            "done": FLAG,
            "ok": FLAG,
            "exit_code": WHOLE,
            "transitions": many(object_({"event": TEXT, "seconds": NUMBER, "ok": FLAG})),
            "problems": TEXTS,
        },
        {"state": TEXT, "run_number": maybe(WHOLE), "message": TEXT},
    ),
    "ecs/operation-list/1": object_({"operations": many(OPERATION)}),
    "ecs/repository-list/1": object_({"repositories": many(PLACE)}),
    "ecs/repository-add/1": object_({"name": TEXT}),
    "ecs/repository-remove/1": object_({"name": TEXT}),
    "ecs/repository-refresh/1": object_({"name": TEXT}),
    "ecs/repository-default/1": object_({"name": TEXT}),
    "ecs/role-query/1": object_({"roles": many(ANY_MAP)}),
    "ecs/run/1": RUN,
    "ecs/runs/1": object_({"total": maybe(WHOLE), "runs": many(object_({"number": WHOLE}, _RUN_HEAD))}),
    "ecs/run-diff/1": object_(
        {"first": WHOLE, "second": WHOLE, "same_setup": FLAG, "times": ANY_MAP, "metrics": ANY_MAP},
        {
            **dict.fromkeys(
                ("workflow", "revision", "condition", "end_reason", "cause", "requester", "comment"), _PAIR
            ),
            **_SETS,
            **_CHANGES,
        },
    ),
    "ecs/run-export/1": object_({"number": WHOLE, "files": TEXTS}),
    "ecs/run-repeat/1": object_({**_TAKING, "repeats": WHOLE}, {"error": ERROR}),
    "ecs/run-repeat-plan/1": object_(
        {"number": WHOLE, "workflow": TEXT, "revision": TEXT, "variables": MAP, "placement": MAP, "duration": TEXT}
    ),
    "ecs/run-take/1": object_(_TAKING, {"error": ERROR}),
    "ecs/task/1": TASK,
    "ecs/task-end/1": object_({"dry_run": FLAG, "tasks": many(TASK)}),
    "ecs/task-list/1": object_({"tasks": many(TASK)}),
    "ecs/template/1": object_(
        {
            **_TEMPLATES,
            "name": TEXT,
            "file": TEXT,
            "public": FLAG,
            "description": TEXT,
            "variables": many(ANY_MAP),
            "findings": TEXTS,
        },
        {"text": TEXT},
    ),
    "ecs/template-check/1": object_(
        {**_TEMPLATES, "workflow": TEXT, "ok": FLAG, "values": WHOLE, "findings": many(FINDING)}
    ),
    "ecs/template-expand/1": object_(
        {
            **_TEMPLATES,
            "workflow": TEXT,
            "notes": TEXTS,
            "name": TEXT,
            "path": TEXT,
            "kind": TEXT,
            "children": many(ANY),
        }
    ),
    "ecs/template-form/1": object_(
        {
            **_TEMPLATES,
            "workflow": TEXT,
            "description": TEXT,
            "values": ANY_MAP,
            "panels": many(ANY_MAP),
            "others": TEXTS,
            "complete": FLAG,
            "findings": many(FINDING),
        }
    ),
    "ecs/template-lint/1": object_(
        {
            **_TEMPLATES,
            "ok": FLAG,
            "templates": WHOLE,
            "errors": WHOLE,
            "warnings": WHOLE,
            "hints": WHOLE,
            "findings": many(FINDING),
        }
    ),
    "ecs/template-list/1": object_(
        {
            **_TEMPLATES,
            "templates": many(object_({"name": TEXT, "public": FLAG, "description": TEXT, "error": maybe(TEXT)})),
        }
    ),
    "ecs/top/1": object_({"core": CORE, "environments": many(ENVIRONMENT), "nodes": many(NODE)}),
}
"""All of them."""
