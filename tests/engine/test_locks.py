"""Locks of detectors: who has one binds everybody, over restarts; and two environments never hold the same detector."""

from __future__ import annotations

import json

import attrs
import pytest

from libecs.access import OWNER, Principal, Role
from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import Expand, Expanded, Received
from libecs.engine.locks import detectors_of, read_list, when
from libecs.fsm import EnvState
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.wire.info import LockInfo
from libecs.workflow.role import Role as WorkflowRole
from tests.engine.bench import Bench
from tests.engine.flows import call, group, task, workflow

ANNA = Principal(name="anna", role=Role.OPERATOR)
BERT = Principal(name="bert", role=Role.OPERATOR)
ROOT = Principal(name="root", role=Role.ADMIN)


def its() -> tuple[Bench, str]:
    """An environment that holds its and tpc."""
    bench = Bench(workflow(task("a"), variables={"detectors": '["its", "tpc"]'}))
    return bench, bench.create()


def lock(
    bench: Bench, id: str, *detectors: str, who: Principal = ANNA, force: bool = False, reason: str = ""
) -> Finished:
    message = client.Lock(operation=id, detectors=detectors, force=force, reason=reason)
    told = bench.ask(message, who.name, who)
    assert isinstance(told[-1], Finished)
    return told[-1]


def unlock(bench: Bench, id: str, *detectors: str, who: Principal = ANNA, force: bool = False) -> Finished:
    told = bench.ask(client.Unlock(operation=id, detectors=detectors, force=force), who.name, who)
    assert isinstance(told[-1], Finished)
    return told[-1]


def locks(bench: Bench) -> dict[str, LockInfo]:
    (told,) = bench.ask(client.ShowLocks(request="l"))
    assert isinstance(told, client.Locks)
    return {one.detector: one for one in told.locks}


@pytest.mark.parametrize("verb", ["Control", "Destroy", "Reconfigure", "Modify", "EndTasks"])
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
def test_nobody_touches_an_environment_with_a_detector_that_another_has_locked(verb: str, role: Role) -> None:
    bench, environment = its()
    lock(bench, "l", "tpc", who=ANNA, reason="calibration")
    message = {
        "Control": client.Control(operation="x", environment=environment, event="RESET"),
        "Destroy": client.Destroy(operation="x", environment=environment, force=True),
        "Reconfigure": client.Reconfigure(operation="x", environment=environment, values={"x": "1"}),
        "Modify": client.Modify(operation="x", environment=environment, exclude=("w.a",)),
        "EndTasks": client.EndTasks(operation="x", tasks=(f"{environment}t1",), force=True),
    }[verb]

    (told,) = bench.ask(message, "c", Principal(name="bert", role=role))

    assert isinstance(told, Finished)
    assert told.code == "E_DENIED"
    assert (
        f"environment {environment} holds detector tpc, which has been locked by anna since 2023-11-14" in told.message
    )
    assert "(calibration)" in told.message
    assert bench.state.name == "CONFIGURED"
    assert "x" not in bench.core.requests.operations
    assert (bench.audit[-1].verb, bench.audit[-1].decision) == (verb, "denied")


def test_who_has_the_lock_goes_on_and_so_does_everybody_without_one() -> None:
    bench, environment = its()
    bench.ask(client.Control(operation="1", environment=environment, event="RESET"), "c", BERT)
    assert bench.state.name == "DEPLOYED"

    lock(bench, "l", "its")
    bench.ask(client.Control(operation="2", environment=environment, event="CONFIGURE"), "c", ANNA)

    assert bench.state.name == "CONFIGURED"


def test_locks_bind_the_owner_of_a_script_too() -> None:
    bench, _environment = its()
    lock(bench, "l", "its")

    denied = bench.destroy(force=True)

    assert denied is not None
    assert denied.code == "E_DENIED"
    lock(bench, "m", "its", who=ROOT, force=True)
    unlock(bench, "n", who=ROOT)
    done = bench.destroy(force=True)
    assert done is not None
    assert done.code == ""


def test_locks_are_taken_all_or_none_and_their_fences_grow() -> None:
    bench, _ = its()
    lock(bench, "1", "tpc")

    refused = lock(bench, "2", "its", "tpc", "mft", who=BERT, reason="test beam")
    taken = lock(bench, "3", "its", "mft", who=BERT)

    assert refused.code == "E_CONFLICT"
    assert "detector tpc has been locked by anna since" in refused.message
    assert list(locks(bench)) == ["its", "mft", "tpc"]
    fences = json.loads(taken.message)
    assert fences == {name: locks(bench)[name].fence for name in ("its", "mft")}
    assert len({one.fence for one in locks(bench).values()}) == 3
    assert min(fences.values()) > locks(bench)["tpc"].fence
    asked = [event for event in bench.events if event.kind == "lock" and event.state == "REQUESTED"]
    assert [(event.name, event.text) for event in asked] == [("tpc", "bert asks anna for it (test beam)")]


def test_taking_a_lock_twice_changes_nothing_and_a_force_is_told_to_whom_it_is_taken_from() -> None:
    bench, _ = its()
    first = lock(bench, "1", "its")
    again = lock(bench, "2", "its")
    forced = lock(bench, "3", "its", who=ROOT, force=True, reason="shift is over")

    assert first.message == again.message
    assert json.loads(forced.message)["its"] > json.loads(first.message)["its"]
    assert locks(bench)["its"].owner == "root"
    said = [(event.state, event.text) for event in bench.events if event.kind == "lock"]
    assert said == [("TAKEN", "anna has it"), ("FORCED", "root has taken it from anna (shift is over)")]


def test_who_has_a_lock_may_give_it_another_reason_and_keeps_it_as_it_is() -> None:
    bench, _ = its()
    first = lock(bench, "1", "its", reason="scan")
    before = locks(bench)["its"]
    bench.unix += 1000

    def again(id: str, reason: str, renew: bool) -> Finished:
        (told,) = bench.ask(client.Lock(operation=id, detectors=("its",), reason=reason, renew=renew), "anna", ANNA)
        assert isinstance(told, Finished)
        return told

    assert again("2", "an inner script", False).message == first.message
    assert again("3", "", True).message == first.message
    assert locks(bench)["its"] == before
    assert again("4", "laser", True).message == first.message
    assert again("5", "laser", True).message == first.message
    assert locks(bench)["its"] == attrs.evolve(before, reason="laser")
    said = [(event.state, event.text) for event in bench.events if event.kind == "lock"]
    assert said == [("TAKEN", "anna has it (scan)"), ("TAKEN", "anna keeps it (laser)")]


def test_only_admins_force() -> None:
    bench, _ = its()
    lock(bench, "1", "its")

    assert lock(bench, "2", "its", who=BERT, force=True).code == "E_DENIED"
    assert unlock(bench, "3", "its", who=BERT, force=True).code == "E_DENIED"
    assert unlock(bench, "4", "its", who=BERT).code == "E_DENIED"
    assert locks(bench)["its"].owner == "anna"
    assert unlock(bench, "5", "its", who=ROOT, force=True).message == '["its"]'
    assert bench.events[-2].text == "root has taken it from anna and given it back"
    assert locks(bench) == {}


def test_all_locks_are_given_back_at_once_and_one_that_is_free_stays_free() -> None:
    bench, _ = its()
    lock(bench, "1", "its", "tpc")
    lock(bench, "2", "mft", who=BERT)

    assert json.loads(unlock(bench, "3").message) == ["its", "tpc"]
    assert list(locks(bench)) == ["mft"]
    assert json.loads(unlock(bench, "4", "its").message) == []


def test_locks_and_their_fence_survive_a_restart() -> None:
    bench, environment = its()
    lock(bench, "1", "its")
    before = locks(bench)
    lock(bench, "2", "tpc")
    unlock(bench, "3", "tpc")

    bench.restart()

    assert locks(bench) == before
    (told,) = bench.ask(client.Destroy(operation="x", environment=environment), "c", BERT)
    assert isinstance(told, Finished)
    assert told.code == "E_DENIED"
    later = json.loads(lock(bench, "4", "tpc", who=BERT).message)["tpc"]
    assert later > max(json.loads(bench.answers[name].message)[name2] for name, name2 in (("1", "its"), ("2", "tpc")))


def test_a_lock_that_cant_be_read_is_named() -> None:
    bench, _ = its()
    lock(bench, "1", "its")
    bench.records["lock"]["its"] = b"\xc1"

    bench.restart()

    assert "lock/its" in bench.core.quarantine


@pytest.mark.parametrize(
    "detectors", [(), ("",), ("a,b",), ("x" * 101,), ("a\nb",), tuple(f"d{n}" for n in range(1001))]
)
def test_what_is_no_detector_is_not_locked(detectors: tuple[str, ...]) -> None:
    bench, _ = its()

    assert lock(bench, "1", *detectors).code == "E_USAGE"
    assert locks(bench) == {}


def test_a_lock_beyond_the_scope_is_denied_and_leaves_no_record() -> None:
    bench, _ = its()

    denied = lock(bench, "1", "its", "tpc", who=attrs.evolve(ANNA, detectors=frozenset({"its"})))

    assert denied.code == "E_DENIED"
    assert "his detectors are its" in denied.message
    assert "1" not in bench.core.requests.operations
    assert bench.audit[-1].decision == "denied"


def test_a_script_without_a_name_has_locks_as_owner() -> None:
    bench, _ = its()
    bench.ask(client.Lock(operation="1", detectors=("its",)), "script", OWNER)

    assert locks(bench)["its"].owner == "owner"
    done = bench.control("RESET")
    assert done is not None
    assert done.code == ""


def test_known_detectors_are_those_of_environments_of_locks_and_of_the_inventory() -> None:
    from libecs.engine.core import CoreSettings

    bench = Bench(
        workflow(task("a"), variables={"detectors": "its"}), settings=CoreSettings(instance="t", detectors=("trd",))
    )
    bench.create()
    lock(bench, "1", "mft")

    (told,) = bench.ask(client.ShowLocks(request="l"))

    assert isinstance(told, client.Locks)
    assert told.detectors == ("its", "mft", "trd")


# two environments


def test_two_living_environments_never_hold_the_same_detector() -> None:
    bench, environment = its()

    told = bench.ask(client.Create(operation="second", workflow="t"), "c", ANNA)

    answer = told[-1]
    assert isinstance(answer, Finished)
    assert (answer.code, answer.state) == ("E_CONFLICT", EnvState.DONE)
    assert f"detectors its, tpc in use by environment {environment}" in answer.message
    assert list(bench.core.environments) == [environment]
    assert len(bench.nodes["n1"].specs) == 1
    bench.destroy()
    bench.ask(client.Create(operation="third", workflow="t"), "c", ANNA)
    assert bench.answers["third"].code == ""


def test_a_lock_taken_while_the_workflow_is_loaded_counts() -> None:
    bench = Bench(workflow(task("a"), variables={"detectors": "its"}))
    from libecs.engine.effects import Expanded, Received

    effects = bench.core.handle(Received("c", client.Create(operation="1", workflow="t"), BERT), bench.now)
    lock(bench, "l", "its")
    (environment,) = bench.core.environments
    bench.perform([effect for effect in effects if type(effect).__name__ == "Persist"])
    bench.queue.append(Expanded(job=environment, workflow=bench.workflow))
    bench.run()

    assert bench.answers["1"].code == "E_DENIED"
    assert "which has been locked by anna" in bench.answers["1"].message
    assert bench.core.environments == {}


@attrs.define
class Loading:
    """A core whose environments are being loaded until `loaded` says otherwise."""

    bench: Bench

    def create(self, id: str, who: Principal, **variables: str) -> str:
        message = client.Create(operation=id, workflow="t", variables=variables)
        effects = self.bench.core.handle(Received("c", message, who), self.bench.now)
        self.bench.perform([effect for effect in effects if not isinstance(effect, Expand)])
        return list(self.bench.core.environments)[-1]

    def loaded(self, environment: str) -> None:
        self.bench.queue.append(Expanded(job=environment, workflow=self.bench.workflow))
        self.bench.run()


@pytest.fixture
def loading() -> Loading:
    return Loading(Bench(workflow(task("a"), variables={"detectors": "its"})))


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_that_are_loaded_at_once_the_first_that_is_there_has_the_detector(loading: Loading, first: int) -> None:
    both = [loading.create("0", ANNA), loading.create("1", BERT)]

    loading.loaded(both[first])
    loading.loaded(both[1 - first])

    assert loading.bench.answers[str(first)].code == ""
    assert loading.bench.answers[str(1 - first)].code == "E_CONFLICT"
    assert list(loading.bench.core.environments) == [both[first]]


def test_a_lock_that_is_taken_while_a_restarted_core_loads_counts(loading: Loading) -> None:
    bench = loading.bench
    environment = loading.create("1", BERT)
    bench.core = CoreEngine(bench.settings, bench.records)
    bench.perform([one for one in bench.core.start(bench.now) if not isinstance(one, Expand)])

    lock(bench, "l", "its")
    loading.loaded(environment)
    bench.wait(4.0)  # its nodes may come first

    assert bench.core.environments == {}
    assert not bench.nodes["n1"].specs


def test_a_lock_is_free_again_only_when_it_is_given_back_not_when_something_is_loaded(loading: Loading) -> None:
    lock(loading.bench, "l", "its")
    environment = loading.create("1", ANNA)
    unlock(loading.bench, "u")
    lock(loading.bench, "l2", "its", who=BERT)

    loading.loaded(environment)

    assert loading.bench.answers["1"].code == "E_DENIED"


def test_what_a_request_names_is_known_before_its_workflow_is_loaded(loading: Loading) -> None:
    environment = loading.create("1", ANNA, detectors="its")
    lock(loading.bench, "l", "its", who=ANNA)

    (told,) = loading.bench.ask(client.Destroy(operation="x", environment=environment, force=True), "c", BERT)

    assert isinstance(told, Finished)
    assert told.code == "E_DENIED"
    assert "which has been locked by anna" in told.message


def test_nobody_with_a_scope_ends_what_is_loaded_for_somebody_else(loading: Loading) -> None:
    environment = loading.create("1", ANNA)
    destroy = client.Destroy(operation="x", environment=environment, force=True)

    (told,) = loading.bench.ask(destroy, "c", attrs.evolve(BERT, detectors=frozenset({"tpc"})))
    assert isinstance(told, Finished)
    assert told.code == "E_DENIED"
    assert "nobody knows yet which detectors it holds" in told.message

    own = loading.bench.ask(destroy, "c", attrs.evolve(ANNA, detectors=frozenset({"its"})))
    assert isinstance(own[-1], Finished)
    assert own[-1].code == ""


# detectors that nobody knows


def test_a_lock_of_a_detector_that_nothing_knows_is_given_with_a_warning() -> None:
    bench = Bench(
        workflow(task("a"), variables={"detectors": "its"}), settings=CoreSettings(instance="t", detectors=("trd",))
    )
    bench.create()

    assert lock(bench, "1", "its", "trd").hint == ""
    slip = lock(bench, "2", "ITS", "new")

    assert slip.code == ""
    assert slip.hint == "nothing here knows detectors ITS, new, and the lock is yours all the same; did you mean its?"
    assert {"ITS", "new"} < set(locks(bench))


def test_where_no_detector_is_known_there_is_nothing_to_warn_of() -> None:
    bench = Bench(workflow(task("a")))

    assert lock(bench, "1", "anything").hint == ""


# which detectors an environment has


def with_vars(role: WorkflowRole, **variables: str) -> WorkflowRole:
    return attrs.evolve(role, vars=variables)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ('["its", "tpc"]', ("its", "tpc")),
        ("its, tpc,,its", ("its", "tpc")),
        ("['its','tpc']", ("its", "tpc")),
        ("[1, null]", ()),
        ("[", ()),
        ("[" * 100_000, ()),
    ],
)
def test_a_list_is_json_or_has_commas(text: str, names: tuple[str, ...]) -> None:
    assert read_list(text) == names


def test_detectors_are_what_the_root_says_else_what_tasks_and_calls_see() -> None:
    flow = workflow(
        with_vars(group("g"), detector="its"),
        task("g.a"),
        with_vars(task("b"), detector="tpc"),
        attrs.evolve(call("c", "x.Y()", "before_CONFIGURE"), defaults={"detector": "trd"}),
        task("d"),
        with_vars(group("empty"), detector="mft"),
    )

    assert detectors_of(flow) == {"its", "tpc", "trd"}
    assert detectors_of(flow, ("w.g",)) == {"tpc", "trd"}
    assert detectors_of(flow, ("w.g.a", "w.c")) == {"tpc"}
    listed = attrs.evolve(flow, user_vars={"detectors": "its,tpc,zdc"})
    assert detectors_of(listed) == {"its", "tpc", "zdc"}
    assert detectors_of(listed, ("w.g",)) == {"tpc", "zdc"}
    assert detectors_of(attrs.evolve(flow, user_vars={"detector": "one"})) == {"one"}
    assert detectors_of(attrs.evolve(flow, base_defaults={"detector": "base"})) == {"its", "tpc", "trd", "base"}


def test_a_time_is_shown_in_words_even_if_it_is_none() -> None:
    assert when(1_700_000_000_000) == "2023-11-14 22:13:20 UTC"
    assert when(2**62) == f"{2**62} ms"


def test_what_is_put_back_is_judged_by_who_asks_for_it() -> None:
    flow = workflow(with_vars(task("a"), detector="its"), with_vars(task("b"), detector="tpc"))
    bench = Bench(flow)
    bench.ask(client.Create(operation="1", workflow="t", requester="x"), "c", BERT)
    (environment,) = bench.core.environments
    bench.ask(client.Modify(operation="2", environment=environment, exclude=("w.b",)), "c", BERT)
    lock(bench, "3", "tpc", who=ANNA)
    scoped = attrs.evolve(ANNA, detectors=frozenset({"its"}))
    back = client.Modify(operation="4", environment=environment, include=("w.b",))

    told = [
        bench.ask(attrs.evolve(back, operation=f"x{n}"), "c", who)[-1] for n, who in enumerate((BERT, scoped, ANNA))
    ]

    assert [one.code for one in told if isinstance(one, Finished)] == ["E_DENIED", "E_DENIED", ""]
    assert bench.core.locks.of(bench.core.environments[environment]) == {"its", "tpc"}


def test_a_detector_that_was_given_up_is_not_taken_back_from_another_environment() -> None:
    bench = Bench(workflow(with_vars(task("a"), detector="its"), with_vars(task("b"), detector="tpc")))
    first = bench.create()
    bench.ask(client.Modify(operation="1", environment=first, exclude=("w.b",)), "c", ANNA)
    bench.workflow = workflow(with_vars(task("c"), detector="tpc"))
    second = bench.create()
    assert bench.answers["op2"].code == ""

    told = bench.ask(client.Modify(operation="2", environment=first, include=("w.b",)), "c", ANNA)

    assert isinstance(told[-1], Finished)
    assert told[-1].code == "E_CONFLICT"
    assert f"detector tpc in use by environment {second}" in told[-1].message
