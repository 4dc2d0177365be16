"""`env.reconfigure(…)` and `env.tasks(…).reconfigure(…)`, on both faces."""

from __future__ import annotations

import pytest

from libecs.client.ecs import AsyncEcs
from libecs.client.sync import Ecs
from libecs.errors import InvalidInput, RunFailed, TransitionFailed
from libecs.fsm import EnvState
from libecs.wire.client import Finished, Reconfigure
from tests.session.conftest import FakeCore


async def test_values_become_texts_and_the_tasks_are_named_by_their_pattern(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")

    await env.reconfigure({"threshold": 20, "name": "x"})
    await env.tasks("**.sink").reconfigure({"bias": -60.5})
    await (await env.tasks("host-1.*")).reconfigure({"on": True})

    sent = [(message.environment, dict(message.values), message.tasks) for message in core.of(Reconfigure)]
    assert sent == [
        (env.id, {"threshold": "20", "name": "x"}, "**"),
        (env.id, {"bias": "-60.5"}, "**.sink"),
        (env.id, {"on": "true"}, "host-1.*"),
    ]
    assert core.of(Reconfigure)[0].requester == "me@here"
    assert env.state == "CONFIGURED"


async def test_refused_key_is_invalid_input_and_nothing_is_broken(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.fail_next = Finished(
        operation="", state=EnvState.CONFIGURED, code="E_INVALID", message="no task knows 'treshold'", hint="threshold?"
    )

    with pytest.raises(InvalidInput, match="no task knows 'treshold'"):
        await env.reconfigure({"treshold": 20})

    assert env.state == "CONFIGURED"
    async with env.run() as run:
        assert run.going


async def test_task_that_refuses_fails_it(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.fail_next = Finished(operation="", state=EnvState.ERROR, code="E_TRANSITION", message="no", cause="too hot")

    with pytest.raises(TransitionFailed, match="too hot"):
        await env.reconfigure({"threshold": 20})
    with pytest.raises(RunFailed):
        await env.reconfigure({"threshold": 20})


def test_sync_face_is_the_same(core: FakeCore, lab: Ecs) -> None:
    with lab.environment("demo") as env:
        env.reconfigure({"threshold": 20}, "**.sink", timeout=10)
        chosen = env.tasks("**.sink")
        chosen.reconfigure({"threshold": 21})

    assert [(dict(one.values), one.tasks) for one in core.of(Reconfigure)] == [
        ({"threshold": "20"}, "**.sink"),
        ({"threshold": "21"}, "**.sink"),
    ]
    assert len(chosen) == 2
