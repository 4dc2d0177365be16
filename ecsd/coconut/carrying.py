"""Operations carried out under somebody's eyes: begun, shown while they go on, waited for, or left alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from libecs.errors import EcsError, TransitionFailed, WaitTimeout

if TYPE_CHECKING:
    from ecsd.coconut.chronicle import Chronicle
    from ecsd.coconut.output import Output
    from ecsd.coconut.target import Target
    from libecs.client.ecs import AsyncEcs
    from libecs.client.operation import Operation
    from libecs.wire.client import Finished

DEGRADED = 10
"""Exit status of what went well but for something that is not critical."""

SETTLE_S = 0.5
"""How long the last events of an operation may be behind its answer."""


class Detached(EcsError):
    """Ctrl-C while an operation was waited for: it goes on."""

    exit_code = 130
    code = "E_INTERRUPTED"


@attrs.frozen(kw_only=True)
class Waiting:
    """How long an operation is waited for, and what is shown meanwhile."""

    wait: bool = True
    timeout_s: float | None = None
    logs: bool = False

    @classmethod
    def of(cls, options: dict[str, Any]) -> Waiting:
        """Take --wait and --timeout out of the options of a verb. Raises UsageError."""
        from libecs.client.run import seconds

        timeout = options.pop("timeout")
        return cls(wait=options.pop("wait"), timeout_s=None if timeout is None else seconds(timeout))


@attrs.frozen(kw_only=True)
class Outcome:
    """How an operation ended, or that it goes on."""

    operation: str
    environment: str
    finished: Finished | None
    """None: it goes on."""
    chronicle: Chronicle

    @property
    def status(self) -> int:
        """Exit status."""
        return DEGRADED if self.finished is not None and self.chronicle.problems else 0

    def document(self, verb: str) -> dict[str, Any]:
        """Return it for --json."""
        from ecsd.coconut.documents import finished_document

        told: dict[str, Any] = {"operation": self.operation, "environment": self.environment}
        if self.finished is not None:
            told = finished_document(self.finished) | {"environment": self.environment}
        return {
            "verb": verb,
            **told,
            "done": self.finished is not None,
            "ok": self.status in (0, DEGRADED),
            "exit_code": self.status,
            "transitions": self.chronicle.transitions,
            "problems": self.chronicle.problems,
        }


async def carry_out(
    ecs: AsyncEcs, output: Output, target: Target, operation: Operation, waiting: Waiting, environment: str = ""
) -> Outcome:
    """Wait for an operation that has begun, and show what goes on in its environment.

    `environment`: its id, "" if the core will say it.

    Raises:
        Detached: Ctrl-C; it goes on.
        WaitTimeout: after `waiting.timeout_s`; it goes on.
        EcsError: it failed.
    """
    from ecsd.coconut.chronicle import Chronicle
    from ecsd.coconut.progress import follow, make_view

    chronicle = Chronicle()
    next_ = f"coconut operation follow {operation.id}{target.words}"
    try:
        if not waiting.wait:
            await asyncio.shield(operation.environment)
            if operation.finished.done():
                await ecs.finish(operation)
            output.say(f"it goes on: {next_}")
            return Outcome(
                operation=operation.id, environment=operation.made or environment, finished=None, chronicle=chronicle
            )
        view = make_view(output)
        async with follow(ecs, view, chronicle, logs=waiting.logs, of=operation, environment=environment) as ended:
            try:
                finished = await ecs.finish(operation, waiting.timeout_s)
            finally:
                if operation.finished.done():
                    await _settled(ended)
    except asyncio.CancelledError:
        made = operation.made or environment
        raise Detached(
            f"interrupted; operation {operation.id}{f' of environment {made}' if made else ''} goes on", hint=next_
        ) from None
    except WaitTimeout as error:
        error.hint = next_
        raise
    except TransitionFailed as error:
        error.hint = _advice(error, operation, operation.made or environment, target)
        raise
    return Outcome(
        operation=operation.id,
        environment=finished.environment or environment,
        finished=finished,
        chronicle=chronicle,
    )


async def _settled(ended: asyncio.Event) -> None:
    """Wait for the last events of an operation that is over, but not for long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            await ended.wait()


def _advice(error: TransitionFailed, operation: Operation, environment: str, target: Target) -> str:
    """Return commands that help with an environment that did not get where it should."""
    from libecs.fsm import EnvState

    if not environment:
        return error.hint
    if operation.finished.result().state in (EnvState.CONFIGURED, EnvState.RUNNING):  # it goes on as it was
        return f"coconut environment show {environment} --tasks{target.words}"
    role = next((path for path in error.failures if " " not in path), "")  # others are groups of tasks, in words
    logs = [f"coconut task logs {environment} {role}{target.words}"] if role else []
    verbs = [f"coconut environment {verb} {environment}{target.words}" for verb in ("recover", "destroy")]
    return " | ".join([*logs, *verbs])
