"""Runs taken on a core: an environment is made, runs are taken with it, and it is ended."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ecsd.coconut.taking import Taking, take_one, to_the_end
from libecs.errors import EcsError, NotFound

if TYPE_CHECKING:
    from ecsd.coconut.output import Output
    from ecsd.coconut.target import Target
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.client import Create

DISCARD_S = 30.0
"""How long what is left of a failed creation may take to end."""


def take_at_core(
    output: Output,
    target: Target,
    create: Create,
    *,
    duration: str,
    cycles: int = 1,
    comment: str = "",
    logs: bool = False,
    report: Path | None = None,
    schema: str = "run-take",
    extra: dict[str, Any] | None = None,
) -> int:
    """Make the environment, take runs, end it; print the document or the error; return the exit status."""
    from ecsd.coconut.chronicle import Chronicle

    taking = Taking(create.workflow, (), Chronicle(), extra=dict(extra or {}))

    async def work(ecs: AsyncEcs) -> None:
        await _work(ecs, output, create, taking, duration=duration, cycles=cycles, comment=comment, logs=logs)

    return to_the_end(
        output,
        taking,
        lambda: target.run(work),
        schema=schema,
        report=report,
        advice="it was destroyed; --logs shows what tasks write; `coconut environment create --keep` keeps what fails",
    )


async def _work(
    ecs: AsyncEcs,
    output: Output,
    create: Create,
    taking: Taking,
    *,
    duration: str,
    cycles: int,
    comment: str,
    logs: bool,
) -> None:
    from ecsd.coconut.progress import follow, make_view

    operation = ecs.begin(attrs.evolve(create, operation=ecs.new_id(), requester=ecs.requester))
    async with follow(ecs, make_view(output), taking.chronicle, logs=logs, of=operation):
        try:
            finished = await ecs.finish(operation)
        except (EcsError, asyncio.CancelledError):
            if operation.made:
                taking.environment = operation.made
                with contextlib.suppress(EcsError):
                    gone = ecs.destruction(operation.made, force=True, allow_running=True, keep_tasks=False)
                    await ecs.finish(gone, DISCARD_S)
            raise
        env = await ecs.get(finished.environment)
        error: BaseException | None = None
        try:
            taking.nodes = tuple(sorted({task.node for task in (await env.show()).tasks}))
            for _ in range(cycles):
                await take_one(env, taking, duration, comment)
        except BaseException as raised:
            error = raised
            raise
        finally:
            with contextlib.suppress(NotFound):  # somebody has ended it already
                await env.leave(error)
