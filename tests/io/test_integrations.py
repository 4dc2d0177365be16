"""Calls of integrations, served from a file and by testplugin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from libecs.engine.effects import Call, CallDone, CancelCall
from libecs.errors import EcsError, NotFound, TemplateError
from libecs.io.integrations import KEPT, Functions, Integrations, Outcome
from libecs.io.integrations_file import functions_of_file
from libecs.io.testplugin import TestPlugin


def call(function: str, *, id: str = "c1", role: str = "root.call", variables: Mapping[str, str] | None = None) -> Call:
    return Call(
        call=id,
        function=function,
        arguments=("x",),
        variables=variables or {},
        timeout_s=30.0,
        environment="e1",
        role=role,
        moment="before_START_ACTIVITY-10",
        await_moment="before_START_ACTIVITY",
        run_number=7,
    )


class Answers:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[CallDone] = asyncio.Queue()

    def put(self, done: object) -> None:
        assert isinstance(done, CallDone)
        self.queue.put_nowait(done)

    async def next(self) -> CallDone:
        return await asyncio.wait_for(self.queue.get(), 30)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def write(path: Path, text: str) -> Path:
    file = path / "integrations.yaml"
    file.write_text(text)
    return file


async def test_a_function_answers_what_the_file_says(answers: Answers, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "dcs.StartOfRun: ok\n"
        "trg.RunStart(): \n"
        "odc.Configure: {value: done, delay: 1ms, sets: {odc_state: READY}}\n"
        "odc.Start: {error: the partition is gone, sets: {x: y}}\n",
    )
    functions = functions_of_file(file)
    integrations = Integrations(answers.put, [functions])

    for name in ("dcs.StartOfRun", "trg.RunStart", "odc.Start"):
        integrations.call(call(name, id=name))
    assert await answers.next() == CallDone(call="dcs.StartOfRun", ok=True, value="ok")
    assert await answers.next() == CallDone(call="trg.RunStart", ok=True)
    assert await answers.next() == CallDone(call="odc.Start", ok=False, error="the partition is gone")
    integrations.call(call("odc.Configure"))
    assert answers.queue.empty()
    assert await answers.next() == CallDone(call="c1", ok=True, value="done", sets={"odc_state": "READY"})
    assert functions.texts["odc.Configure"] == "done"


async def test_each_call_is_on_record_in_the_list_and_as_a_line(answers: Answers, tmp_path: Path) -> None:
    clock = iter([100, 110, 120, 140])
    file = write(tmp_path, "slow.Call: {delay: 0.001}\nbad.Call: {error: no}\n")
    record = tmp_path / "calls.jsonl"
    integrations = Integrations(answers.put, [functions_of_file(file)], record=record, unix_ms=lambda: next(clock))

    integrations.call(call("slow.Call", id="1"))
    integrations.call(call("bad.Call", id="2"))
    await answers.next()
    await answers.next()
    integrations.close()

    bad, slow = integrations.records
    assert (slow.number, slow.function, slow.moment, slow.await_moment, slow.role, slow.run_number) == (
        *(1, "slow.Call", "before_START_ACTIVITY-10", "before_START_ACTIVITY"),
        *("root.call", 7),
    )
    assert (slow.ok, slow.begun_ms, slow.ended_ms) == (True, 100, 140)
    assert (bad.ok, bad.error, bad.begun_ms, bad.ended_ms) == (False, "no", 110, 120)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["number"], line["function"], line["ok"]) for line in lines] == [
        (2, "bad.Call", False),
        (1, "slow.Call", True),
    ]


async def test_only_the_last_calls_are_remembered(answers: Answers) -> None:
    integrations = Integrations(answers.put, [])

    for _ in range(KEPT + 2):
        integrations.call(call("a.B"))

    assert [record.number for record in integrations.records] == list(range(3, KEPT + 3))


async def test_an_unknown_function_fails_and_names_the_file_and_what_it_has(answers: Answers, tmp_path: Path) -> None:
    file = write(tmp_path, "dcs.B: 1\ndcs.A: 2\n")
    integrations = Integrations(answers.put, [TestPlugin().functions(), functions_of_file(file)])

    integrations.call(call("dcs.StartOfRun"))

    done = await answers.next()
    assert not done.ok
    assert "no integration serves dcs.StartOfRun: testplugin has testplugin.CallOrderObserver" in done.error
    assert f"{file} has dcs.A, dcs.B" in done.error


async def test_without_any_integration_the_error_says_so(answers: Answers) -> None:
    Integrations(answers.put, []).call(call("dcs.StartOfRun"))

    assert (await answers.next()).error == "no integration serves dcs.StartOfRun: none is loaded"


async def test_a_call_that_is_given_up_is_not_answered(answers: Answers, tmp_path: Path) -> None:
    file = write(tmp_path, "a.Slow: {delay: 1h}\na.Hang: {delay: never}\na.Quick: x\n")
    integrations = Integrations(answers.put, [functions_of_file(file)])

    integrations.call(call("a.Slow", id="1"))
    integrations.call(call("a.Hang", id="2"))
    integrations.cancel(CancelCall("1"))
    integrations.cancel(CancelCall("1"))
    integrations.close()

    assert answers.queue.empty()
    assert [(record.ok, record.error) for record in integrations.records] == [
        (False, "cancelled"),
        (False, "not finished"),
    ]


async def test_a_function_that_breaks_fails_its_call_only(answers: Answers) -> None:
    def broken(_: Call) -> Outcome:
        raise ZeroDivisionError("division by zero")

    integrations = Integrations(answers.put, [Functions(place="mine", handlers={"a.B": broken})])
    integrations.call(call("a.B"))

    assert (await answers.next()).error == "ZeroDivisionError: division by zero"


async def test_a_record_that_cannot_be_written_is_refused(answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(EcsError, match="cannot be written"):
        Integrations(answers.put, [], record=tmp_path)


def test_an_empty_file_has_no_functions(tmp_path: Path) -> None:
    assert functions_of_file(write(tmp_path, "")).handlers == {}
    with pytest.raises(NotFound):
        functions_of_file(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("StartOfRun: ok", "names no function"),
        ("a.b.c: ok", "names no function"),
        ("a.B: [ok]", "integrations.yaml:1:6"),
        ("a.B: {valuu: ok}", "unknown key 'valuu'"),
        ("a.B: {value: [ok]}", "`value` must be a text"),
        ("a.B: {sets: ok}", "`sets`"),
        ("a.B: {sets: {x: [y]}}", "`x` must be a text"),
        ("a.B: {delay: soon}", r"integrations.yaml:1:14: a\.B: not a duration"),
        ("a.B: {delay: -1}", "no delay"),
        ("- a", "integrations.yaml:1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        functions_of_file(write(tmp_path, text))


# testplugin


@pytest.mark.parametrize(
    ("function", "variables", "outcome"),
    [
        ("Noop", {}, Outcome()),
        ("Test", {"testplugin_message": "hello"}, Outcome(sets={"root.call_called": "true"})),
        ("Test", {"testplugin_fail": "true"}, Outcome(error="testplugin_fail is true")),
        ("Test", {"testplugin_hang": "true"}, Outcome(delay_s=None)),
        (
            "TimestampObserver",
            {"run_start_time_ms": "1", "run_end_time_ms": ""},
            Outcome(sets={"root.call_saw_run_start_time_ms": "true"}),
        ),
    ],
)
def test_testplugin(function: str, variables: Mapping[str, str], outcome: Outcome) -> None:
    handler = TestPlugin().functions().handlers[f"testplugin.{function}"]

    assert handler(call(f"testplugin.{function}", variables=variables)) == outcome


def test_the_order_of_calls_is_kept_even_if_they_see_the_same_variables() -> None:
    observe = TestPlugin().functions().handlers["testplugin.CallOrderObserver"]
    variables = {"call_history": "old"}

    assert observe(call("", role="a", variables=variables)).sets == {"call_history": "old,a"}
    assert observe(call("", role="b", variables=variables)).sets == {"call_history": "old,a,b"}
    assert TestPlugin().call_order_observer(call("", role="c")).sets == {"call_history": "c"}
