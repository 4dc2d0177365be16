"""What a real core changes in an environment that is there: roles, properties, tasks, and its end."""

from __future__ import annotations

import pytest
from fieldkit.cluster import Cluster

from libecs.access import Role
from tests.coconut.atcore import SINGLE, act_as, make, wait_for
from tests.coconut.conftest import Coconut

pytestmark = pytest.mark.timeout(300)


def test_modify_takes_a_detector_out_and_back(at_core: Coconut) -> None:
    created = at_core("environment", "create", "detectors", "--name", "all", "-q", "--json").document
    plan = at_core("environment", "modify", "all", "--exclude", "tpc", "--dry-run", "--json").document
    out = at_core("environment", "modify", "all", "--exclude", "tpc", "-q", "--json").document
    shown = at_core("environment", "show", "all", "--json").document
    logs = at_core("environment", "logs", "all")
    back = at_core("environment", "modify", created["environment"], "--include", "tpc", "-q", "--json").document

    assert plan["excludes"] == ["detectors.tpc.n1", "detectors.tpc.n2"]
    assert plan["allowed"]
    assert (out["state"], back["state"]) == ("CONFIGURED", "CONFIGURED")
    assert shown["excluded"] == ["detectors.tpc"]
    assert "tpc" not in shown["detectors"]
    assert "detectors.tpc.n1 is excluded: no task of it is here" in logs.err
    assert at_core("environment", "show", "all", "--json").document["excluded"] == []


def test_what_cannot_be_put_back_stays_out_and_nobody_is_told_to_destroy_the_rest(at_core: Coconut) -> None:
    at_core("environment", "create", "detectors", "--name", "all", "-q")
    at_core("environment", "modify", "all", "--exclude", "tpc", "-q")
    at_core("node", "drain", "n1")
    ran = at_core("environment", "modify", "all", "--include", "tpc", "-q")
    at_core("node", "undrain", "n1")

    assert ran.status == 7
    assert "what was to be put back stays excluded" in ran.err
    assert "--tasks" in ran.err.rpartition("next: ")[2]
    assert "destroy" not in ran.err
    assert at_core("environment", "show", "all", "--json").document["state"] == "CONFIGURED"


def test_modify_of_what_is_not_there_says_what_is(at_core: Coconut) -> None:
    at_core("environment", "create", "detectors", "--name", "all", "-q")

    role = at_core("environment", "modify", "all", "--exclude", "tpcc")
    node = at_core("environment", "modify", "all", "--exclude-node", "n7")
    both = at_core("environment", "modify", "all", "--exclude", "tpc", "--include", "tpc")

    assert (role.status, node.status, both.status) == (3, 3, 2)
    assert "did you mean tpc" in role.err
    assert "nodes are n1, n2" in node.err


def test_reconfigure_changes_a_property_and_no_pid(at_core: Coconut) -> None:
    at_core("environment", "create", "field", "--name", "f", "-q")
    before = at_core("environment", "show", "f", "--json").document["tasks"]

    good = at_core("environment", "reconfigure", "f", "value=5", "-q", "--json")
    bad = at_core("environment", "reconfigure", "f", "valeu=5", "-q")

    assert good.document["ok"]
    assert bad.status == 9
    after = at_core("environment", "show", "f", "--json").document["tasks"]
    assert [task["pid"] for task in before] == [task["pid"] for task in after]


def test_destroy_of_a_running_one_needs_a_word(at_core: Coconut) -> None:
    make(at_core, "--name", "shift")
    at_core("environment", "control", "shift", "START", "-q")

    plan = at_core("environment", "destroy", "shift", "--dry-run", "--json").document
    refused = at_core("environment", "destroy", "shift", "-q")
    done = at_core("environment", "destroy", "shift", "--allow-running", "-q", "--json").document

    assert (plan["allowed"], plan["ends"]) == (False, ["single.one"])
    assert refused.status == 4
    assert "--allow-running" in refused.err
    assert done["state"] == "DONE"


def test_kept_tasks_are_idle_and_can_be_ended(at_core: Coconut) -> None:
    make(at_core, "--name", "shift")
    plan = at_core("environment", "destroy", "shift", "--keep-tasks", "--dry-run").out
    at_core("environment", "destroy", "shift", "--keep-tasks", "-q")
    (idle,) = at_core("task", "list", "--idle", "--json").document["tasks"]

    dry = at_core("task", "clean", "--dry-run", "--json").document
    done = at_core("task", "clean", "--json").document

    assert "1 tasks would be kept" in plan
    assert idle["state"] == "STANDBY"
    assert [task["task"] for task in dry["tasks"]] == [task["task"] for task in done["tasks"]] == [idle["task"]]
    wait_for(lambda: at_core("task", "list", "--idle", "--json").document["tasks"] == [])


def test_killing_a_task_of_an_environment_needs_force(at_core: Coconut) -> None:
    make(at_core, "--name", "shift")
    (task,) = at_core("task", "list", "--environment", "shift", "--json").document["tasks"]

    refused = at_core("task", "kill", task["task"])
    killed = at_core("task", "kill", task["task"], "--force", "--json")

    assert refused.status in (4, 5)
    assert killed.status == 0

    def rests_in_error() -> bool:
        shown = at_core("environment", "show", "shift", "--json").document
        return bool(shown["state"] == "ERROR" and not shown["transition"])

    wait_for(rests_in_error)
    assert at_core("environment", "recover", "shift", "-q", "--json").document["state"] == "DEPLOYED"


def test_auto_takes_a_run_and_ends_by_itself(at_core: Coconut) -> None:
    ran = at_core(*SINGLE, "--auto", "-e", "auto_stop_enabled=true", "-e", "auto_stop_timeout=300ms", "--json")

    assert ran.status == 0, ran.out
    run = at_core("run", "show", str(ran.document["run_number"]), "--json").document
    assert (run["condition"], run["end_reason"]) == ("GOOD", "TIMER")
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_viewer_may_look_and_do_nothing(at_core: Coconut, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    make(at_core, "--name", "shift")
    cluster.add_key("vera", Role.VIEWER)
    act_as(monkeypatch, cluster, "vera")
    wait_for(lambda: at_core("info").status == 0)

    looked = at_core("environment", "list")
    statuses = {
        words: at_core(*words).status
        for words in (
            ("environment", "create", "single", "-q"),
            ("environment", "control", "shift", "START", "-q"),
            ("environment", "destroy", "shift", "-q"),
            ("node", "drain", "n1"),
            ("lock", "take", "its"),
            ("run", "annotate", "1", "x"),
            ("task", "clean"),
            ("repository", "remove", "x"),
        )
    }
    denied = at_core("environment", "control", "shift", "START", "--json").document["error"]
    act_as(monkeypatch, cluster, "owner")

    assert "shift" in looked.out
    # where nothing is to be cleaned, nothing is asked for
    assert {words: status for words, status in statuses.items() if status != 5} == {("task", "clean"): 0}
    assert denied["code"] == "E_DENIED"
    assert "viewer" in denied["message"].lower()
