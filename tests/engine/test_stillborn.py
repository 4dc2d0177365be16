"""Environments that can't be made: who is told what the expansion quoted, and who is told only that it failed."""

from __future__ import annotations

import attrs
import pytest

from libecs.access import OWNER, Principal, Role
from libecs.engine.effects import Expand, Expanded
from libecs.engine.repeat import Differences
from libecs.wire import client
from libecs.wire.client import Finished
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow

SECRET = "hunter2"
WHY = f"workflows/t.yaml:3:7: {SECRET!r} is no number\n  next: give a number"
SHOWN = "t could not be expanded (E_TEMPLATE); coconut operation list tells operators why"
ASKER = Principal(name="olga", role=Role.OPERATOR, key="oooooooo")
OTHER = Principal(name="otto", role=Role.OPERATOR, key="tttttttt")
SERVICE = Principal(name="bookkeeper", role=Role.SERVICE, key="ssssssss")
VIEWER = Principal(name="vera", role=Role.VIEWER, key="vvvvvvvv")


class Failing(Bench):
    """A core whose host can't expand anything, and says so when it is asked to."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        super().__init__(workflow(task("a")))

    def _perform_one(self, effect: object) -> None:
        if isinstance(effect, Expand):
            self.jobs.append(effect.job)
        else:
            super()._perform_one(effect)

    def fail(self) -> None:
        self.queue.append(Expanded(job=self.jobs.pop(), code="E_TEMPLATE", message=WHY))
        self.run()

    def follow(self, who: Principal) -> Finished:
        told = self.ask(client.Follow(request="f", operation="c"), who.name, who)[-1]
        assert isinstance(told, Finished)
        return told

    def ends(self) -> dict[str, str]:
        """Return what each peer was told of the end."""
        return {peer: message.message for peer, message in self.sent if isinstance(message, Finished)}


def failed(auto: bool = False) -> Failing:
    bench = Failing()
    create = client.Create(operation="c", workflow="t", variables={"db_password": SECRET}, auto=auto)
    bench.ask(create, "olga", ASKER)
    for who in (OTHER, SERVICE, VIEWER):
        bench.ask(client.Follow(request="f", operation="c"), who.name, who)
    bench.fail()
    assert not bench.core.environments
    return bench


@pytest.mark.parametrize("auto", [False, True])
def test_what_an_expansion_quotes_is_told_to_who_asked_and_to_no_viewer(auto: bool) -> None:
    bench = failed(auto)

    assert bench.ends() == {"olga": WHY, "otto": WHY, "bookkeeper": WHY, "vera": SHOWN}


@pytest.mark.parametrize("auto", [False, True])
def test_what_an_expansion_quotes_is_in_no_event_and_in_no_line_of_the_audit_log(auto: bool) -> None:
    bench = failed(auto)

    texts = [event.text for event in bench.events if not event.ok]
    assert texts == [SHOWN, SHOWN]
    assert bench.audit[-1].text == f"E_TEMPLATE {SHOWN}"
    assert SECRET not in str(bench.events) + str(bench.audit)


@pytest.mark.parametrize("restarted", [False, True])
def test_later_the_reason_is_told_to_all_but_viewers(restarted: bool) -> None:
    bench = failed()
    if restarted:
        bench.restart()

    for who, text in ((OWNER, WHY), (ASKER, WHY), (OTHER, WHY), (SERVICE, WHY), (VIEWER, SHOWN)):
        (listed,) = bench.ask(client.ShowOperations(request="o"), who.name, who)
        assert isinstance(listed, client.Operations)
        (one,) = listed.operations
        assert (one.code, one.message) == ("E_TEMPLATE", text)
        assert bench.follow(who).message == text
    again = bench.ask(client.Create(operation="c", workflow="t"), "olga", ASKER)
    assert [told.message for told in again if isinstance(told, Finished)] == [WHY]


def test_of_a_failure_that_quotes_a_viewer_is_told_no_part() -> None:
    bench = failed()
    record = bench.core.requests.operations["c"]

    assert SECRET not in str(bench.follow(VIEWER))
    assert (bench.follow(VIEWER).hint, bench.follow(VIEWER).failures) == ("", {})
    assert record.shown == SHOWN


def test_a_failure_that_quotes_nothing_is_told_to_viewers_in_its_own_words() -> None:
    bench = Bench(workflow(task("a")))
    bench.ask(client.Destroy(operation="d", environment="nothing"), "olga", ASKER)

    (listed,) = bench.ask(client.ShowOperations(request="o"), "vera", VIEWER)

    assert isinstance(listed, client.Operations)
    assert listed.operations[0].message == "no environment nothing (there are: none)"


def test_differences_are_told_with_and_without_the_words_of_errors() -> None:
    one = Differences()
    one.add("w.a", f"its configuration can't be made: {SECRET!r} is no number")
    one.add("w.b", "was on node n1 and would be on n2")

    assert SECRET in one.text()
    assert one.text(quoting=False) == ("w.a: its configuration can't be made; w.b: was on node n1 and would be on n2")


def test_a_run_that_can_not_be_repeated_is_told_to_viewers_too() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.destroy(force=True)
    bench.workflow = attrs.evolve(bench.workflow, revision="other")

    bench.ask(client.Create(operation="c", workflow="", repeat=1), "olga", ASKER)
    (listed,) = bench.ask(client.ShowOperations(request="o", limit=1), "vera", VIEWER)

    asked = bench.answers["c"]
    assert asked.code == "E_INVALID"
    assert asked.failures
    assert isinstance(listed, client.Operations)
    assert listed.operations[0].message == asked.message  # nothing in it is a quotation
