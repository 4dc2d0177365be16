"""What a new life of the core makes of the records of the last one.

A record that can't be read costs what it says, not the core: it is left where it is, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from libecs.engine.environment import Environment
from libecs.engine.locks import Locks
from libecs.engine.placement import Placed
from libecs.engine.plan import Plan
from libecs.engine.pool import Pool
from libecs.engine.records import (
    CONDEMNED,
    CONFIGURATION,
    DRAIN,
    ENVIRONMENT,
    IDLE,
    LAUNCHED,
    LOCK,
    MODIFICATION,
    NODE,
    OPERATION,
    PLACEMENT,
    PLAN,
    RECONFIGURATION,
    RUN,
    RUN_CONFIGURATION,
    RUN_METRICS,
    RUN_PLACEMENT,
    WORKFLOW,
    ConfigurationRecord,
    DrainRecord,
    EnvironmentRecord,
    LaunchedRecord,
    ModificationRecord,
    OperationRecord,
    PlacementRecord,
    ReconfigurationRecord,
)
from libecs.engine.requests import Requests
from libecs.engine.runbook import RunBook
from libecs.engine.sessions import Sessions
from libecs.engine.telemetry import Telemetry
from libecs.errors import DecodeError
from libecs.wire.codec import unpack_value
from libecs.workflow.role import Workflow

Records = Mapping[str, Mapping[str, bytes]]
"""Table to key to value."""


class Life(Protocol):
    """What is recovered."""

    sessions: Sessions
    requests: Requests
    locks: Locks
    runbook: RunBook
    pool: Pool
    telemetry: Telemetry
    quarantine: dict[str, str]
    environments: dict[str, Environment]

    def make_environment(
        self, record: EnvironmentRecord, workflow: Workflow | None, placed: tuple[Placed, ...], plan: Plan | None
    ) -> Environment:
        """Return an environment."""

    def adopt_tasks(self, environment: Environment) -> None:
        """Route what nodes say of the environment's tasks to it."""


def recover(life: Life, records: Records) -> None:
    """Take over all records."""
    for task, where in records.get(CONDEMNED, {}).items():
        _guard(life, f"{CONDEMNED}/{task}", partial(_condemned, life, task, where))
    for detector, value in records.get(LOCK, {}).items():
        _guard(life, f"{LOCK}/{detector}", partial(life.locks.load, detector, value))
    for name, value in records.get(NODE, {}).items():
        if value.isdigit():
            life.sessions.known[name] = int(value)
    for name, value in records.get(DRAIN, {}).items():
        _guard(life, f"{DRAIN}/{name}", partial(_drain, life, name, value))
    for key, value in records.get(OPERATION, {}).items():
        _guard(life, f"{OPERATION}/{key}", partial(_operation, life, key, value))
    life.requests.in_order()
    for key, value in records.get(RUN, {}).items():
        _guard(life, f"{RUN}/{key}", partial(life.runbook.load_run, value))
    life.runbook.load_parts(records.get(RUN_CONFIGURATION, {}), records.get(RUN_PLACEMENT, {}))
    life.telemetry.load(records.get(RUN_METRICS, {}))
    for key, value in records.get(IDLE, {}).items():
        _guard(life, f"{IDLE}/{key}", partial(life.pool.load, value))
    for key, value in records.get(ENVIRONMENT, {}).items():
        _guard(life, f"{ENVIRONMENT}/{key}", partial(_environment, life, key, value, records))


def _guard(life: Life, name: str, load: Callable[[], None]) -> None:
    try:
        load()
    except DecodeError as error:
        life.quarantine[name] = error.message


def _condemned(life: Life, task: str, where: bytes) -> None:
    if not where:
        raise DecodeError("nobody knows on which node it is; it is shown as an orphan")
    life.sessions.condemned.add(where.decode("utf-8", "replace"), [task])


def _operation(life: Life, key: str, value: bytes) -> None:
    life.requests.operations[key] = unpack_value(OperationRecord, value)


def _drain(life: Life, name: str, value: bytes) -> None:
    life.sessions.drained[name] = unpack_value(DrainRecord, value)


def _environment(life: Life, key: str, value: bytes, records: Records) -> None:
    record = unpack_value(EnvironmentRecord, value)
    workflow = placement = plan = reconfiguration = modification = None
    if (data := records.get(WORKFLOW, {}).get(key)) is not None:
        workflow = unpack_value(Workflow, data)
    if (data := records.get(PLACEMENT, {}).get(key)) is not None:
        placement = unpack_value(PlacementRecord, data)
    if (data := records.get(PLAN, {}).get(key)) is not None:
        plan = unpack_value(Plan, data)
    if (data := records.get(RECONFIGURATION, {}).get(key)) is not None:
        reconfiguration = unpack_value(ReconfigurationRecord, data)
    if (data := records.get(MODIFICATION, {}).get(key)) is not None:
        modification = unpack_value(ModificationRecord, data)
    env = life.make_environment(record, workflow, placement.placed if placement else (), plan)
    env.saved_plan, env.reconfiguration = plan, reconfiguration
    env.away = {one.role: one for one in placement.away} if placement else {}
    if workflow is not None:
        env.set_out(modification)
    if (data := records.get(LAUNCHED, {}).get(key)) is not None:
        _guard(life, f"{LAUNCHED}/{key}", partial(_launched, env, data))
    env.changed = False
    if (data := records.get(CONFIGURATION, {}).get(key)) is not None:
        _guard(life, f"{CONFIGURATION}/{key}", partial(_configuration, env, data))
    life.environments[env.id] = env
    life.adopt_tasks(env)


def _launched(env: Environment, data: bytes) -> None:
    env.commands = dict(unpack_value(LaunchedRecord, data).digests)


def _configuration(env: Environment, data: bytes) -> None:
    env.configured = dict(unpack_value(ConfigurationRecord, data).digests)
    env.packed_configuration = data
