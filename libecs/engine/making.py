"""From a request to an environment: its workflow is expanded, compared with a run to repeat, and made or refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from libecs.engine import repeat
from libecs.engine.context import Context
from libecs.engine.effects import Expand, Expanded, Persist
from libecs.engine.environment import Environment
from libecs.engine.failures import grouped
from libecs.engine.records import WORKFLOW
from libecs.fsm import EnvState
from libecs.wire.client import Finished
from libecs.wire.codec import pack_value
from libecs.wire.info import RunInfo


class Maker(Context, Protocol):
    """What the making of an environment needs of the core around it."""

    def full_run(self, number: int) -> RunInfo:
        """Return a run record with its metrics."""

    def finish(self, environment: Environment, answer: Finished, shown: str = "") -> None:
        """End the operation that is going on. `shown` as in OperationRecord."""

    def remove(self, environment: Environment, said: Finished | None = None, shown: str = "") -> None:
        """Forget an environment that never came to be: `said` is why, `shown` what everybody is told of it."""


def expand(env: Environment, core: Maker) -> None:
    """Ask for the workflow of an environment."""
    record = env.record
    variables = {**record.variables, "environment_id": env.id}
    core.emit(Expand(job=env.id, environment=env.id, workflow=record.request, variables=variables, files=record.files))


def expanded(env: Environment, core: Maker, input: Expanded) -> None:
    """Go on with the workflow, or with the reason why there is none."""
    if input.workflow is None:
        code = input.code or "E_TEMPLATE"
        shown = f"{env.record.request} could not be expanded ({code}); coconut operation list tells operators why"
        _stillborn(env, core, code, input.message, shown=shown)
        return
    env.set_workflow(input.workflow)
    problem = core.detectors_problem(env, ())
    if problem is not None:
        _stillborn(env, core, problem.code, problem.message, problem.hint)
        return
    if env.record.repeat:
        repeat.begin(env, core, core.full_run(env.record.repeat), partial(_compared, core))
        return
    _made(env, core)


def _compared(core: Maker, env: Environment, differences: repeat.Differences, possible: bool) -> None:
    """A run is to be repeated, and it is known what can't be the same."""
    number = env.record.repeat
    if differences and not (possible and env.record.repeat_force):
        text = f"run {number} can't be repeated as it was: {differences.text()}"
        hint = "by force it is made all the same" if possible else ""
        shown = f"run {number} can't be repeated as it was: {differences.text(quoting=False)}"
        _stillborn(env, core, "E_INVALID", text, hint, grouped(differences.found), shown=shown)
        return
    if differences:
        core.event("repeat", env.id, run_number=number, ok=False, text=differences.text(quoting=False))
    repeat.keep_placement(env, core)
    env.update(repeat=0)
    _made(env, core)


def _made(env: Environment, core: Maker) -> None:
    """The environment is what was asked for: do the first thing of its agenda."""
    assert env.workflow is not None
    core.emit(Persist(WORKFLOW, env.id, pack_value(env.workflow)))
    agenda = env.record.agenda
    if env.record.files:
        env.update(files={}, request=f"{repeat.SCRIPT}{env.id}/workflows/{env.record.request}")
    if not agenda:
        core.finish(env, Finished(operation="", environment=env.id, state=env.state))
        return
    env.update(agenda=agenda[1:])
    env.begin(core, agenda[0])
    env.advance(core)


def _stillborn(
    env: Environment,
    core: Maker,
    code: str,
    message: str,
    hint: str = "",
    failures: Mapping[str, str] | None = None,
    shown: str = "",
) -> None:
    """An environment can't be made: nobody but who asked for it has seen it.

    shown: where the message quotes what the expansion has read, what everybody is told instead. With no workflow nobody
    knows here which of that is secret.
    """
    core.event("environment.state", env.id, state=EnvState.DONE.name, ok=False, text=shown or message)
    answer = Finished(
        operation="",
        environment=env.id,
        state=EnvState.DONE,
        code=code,
        message=message,
        hint=hint,
        failures=failures or {},
    )
    core.finish(env, answer, shown)
    core.remove(env, answer, shown)
