"""Environments of a real core: their life, what is printed of it, and what ends wrong."""

from __future__ import annotations

import json
import re
import signal

import pytest
from fieldkit.cluster import Cluster

from tests.coconut.atcore import SINGLE, make, running
from tests.coconut.conftest import Coconut

pytestmark = pytest.mark.timeout(300)


def test_a_life_from_create_to_destroy(at_core: Coconut) -> None:
    created = at_core(*SINGLE, "--name", "shift", "-e", "value=7", "--json").document
    started = at_core("environment", "control", "shift", "start", "--comment", "first", "-q", "--json").document
    shown = at_core("environment", "show", "shift", "--json").document
    stopped = at_core("env", "ctl", "shift", "-e", "STOP", "-q", "--json").document
    run = at_core("run", "show", str(started["run_number"]), "--json").document
    destroyed = at_core("env", "des", created["environment"][:-1], "-q", "--json").document

    assert (created["state"], created["verb"], created["done"]) == ("CONFIGURED", "create", True)
    assert [one["event"] for one in created["transitions"]] == ["DEPLOY", "CONFIGURE"]
    assert (started["state"], stopped["state"], destroyed["state"]) == ("RUNNING", "CONFIGURED", "DONE")
    assert shown["run_number"] == started["run_number"]
    assert shown["variables"]["value"] == "7"
    assert [task["role"] for task in shown["tasks"]] == ["single.one"]
    assert (run["condition"], run["end_reason"], run["comment"]) == ("GOOD", "USER", "first")
    assert run["placement"] == {"single.one": "n1"}
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_people_get_lines_on_stdout_and_progress_on_stderr(at_core: Coconut) -> None:
    ran = at_core("environment", "create", "single", "--name", "shift")

    assert ran.out.splitlines()[0].startswith("environment  ")
    assert "state        CONFIGURED" in ran.out
    assert "DEPLOY …" in ran.err
    assert "CONFIGURE done in" in ran.err
    assert re.search(r"^took         \S+ s in 2 transitions$", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out + ran.err


def test_misspelt_variable_is_noted(at_core: Coconut) -> None:
    ran = at_core(*SINGLE[:-1], "-e", "valeu=3")

    assert ran.status == 0
    assert "valeu" in ran.err
    assert "did you mean value" in ran.err


def test_no_wait_gives_an_operation_that_can_be_followed(at_core: Coconut) -> None:
    ran = at_core(*SINGLE, "--no-wait", "--json")

    assert (ran.status, ran.document["done"]) == (0, False)
    operation = ran.document["operation"]
    followed = at_core("operation", "follow", operation, "-q", "--json").document
    assert (followed["state"], followed["environment"]) == ("CONFIGURED", ran.document["environment"])
    listed = at_core("operation", "list", "--json").document["operations"]
    assert any(one["operation"] == operation and one["done"] for one in listed)
    environment = followed["environment"]
    at_core("environment", "control", environment, "reset", "-q")
    assert "Control RESET" in at_core("operation", "list").out.splitlines()[-1]


def test_following_what_is_not_known_is_exit_3(at_core: Coconut) -> None:
    ran = at_core("operation", "follow", "nothing")

    assert ran.status == 3
    assert "coconut operation list" in ran.err


def test_timeout_is_exit_8_and_the_operation_goes_on(at_core: Coconut) -> None:
    # Slow enough for a machine that stands still for a while.
    ran = at_core(*SINGLE, "-e", "fault=slow", "-e", "moment=configure", "-e", "slow_ms=4000", "--timeout", "300ms")

    assert ran.status == 8
    assert "coconut operation follow" in ran.err
    operation = ran.err.split("coconut operation follow ")[1].split()[0]
    assert at_core("operation", "follow", operation, "-q", "--json").document["state"] == "CONFIGURED"


def test_ctrl_c_detaches_and_says_how_to_follow(at_core: Coconut, cluster: Cluster) -> None:
    words = ["environment", "create", "single", "-e", "fault=slow", "-e", "moment=configure", "-e", "slow_ms=8000"]
    with running(cluster, *words) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "CONFIGURE" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert out == ""
    operation = err.split("coconut operation follow ")[1].split()[0]
    assert at_core("operation", "follow", operation, "-q", "--json").document["state"] == "CONFIGURED"


def test_failed_creation_is_exit_7_and_leaves_nothing_unless_kept(at_core: Coconut) -> None:
    faults = ("-e", "fault=fail", "-e", "moment=configure")
    gone = at_core(*SINGLE, *faults)
    kept = at_core(*SINGLE, *faults, "--keep", "--name", "broken", "--json")

    assert gone.status == kept.status == 7
    assert "it was ended again" in gone.err
    assert kept.document["error"]["code"] == "E_TRANSITION"
    (info,) = at_core("environment", "list", "--json").document["environments"]
    assert (info["name"], info["state"]) == ("broken", "ERROR")
    assert info["cause"]


def test_error_of_a_transition_names_commands_that_help(at_core: Coconut) -> None:
    made = make(at_core, "-e", "fault=fail", "-e", "moment=start", "--name", "shift")

    ran = at_core("environment", "control", "shift", "START", "-q")

    assert ran.status == 7
    assert f"coconut environment recover {made}" in ran.err


def test_event_that_is_not_allowed_is_exit_4(at_core: Coconut) -> None:
    make(at_core, "--name", "shift")

    ran = at_core("environment", "control", "shift", "STOP", "-q")

    assert ran.status == 4
    assert "CONFIGURED" in ran.err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("environment", "control", "x", "STRAT"), 2, "did you mean START"),
        (("environment", "control", "x", "EXIT"), 2, "environment destroy"),
        (("environment", "control", "x"), 2, "which event?"),
        (("environment", "show", "nobody"), 3, "no environment 'nobody'"),
        (("environment", "create"), 2, "which workflow?"),
        (("environment", "create", "sinlge", "-q"), 3, "did you mean single"),
        (("environment", "create", "single", "--nodes", "2"), 2, "--local --state DIR"),
        (("environment", "list", "--state", "x"), 2, "add --local"),
        (("environment", "list", "--local", "--context", "x"), 2, "--local asks no core"),
        (("environment", "list", "--local"), 2, "--local --state DIR"),
        (("environment", "modify", "x"), 2, "--exclude ROLE"),
        (("environment", "reconfigure", "x"), 2, "which values?"),
        (("environment", "list", "--context", "nowhere"), 3, "there is no context 'nowhere'"),
        (("node", "show", "flp9"), 3, "nodes are n1, n2"),
        (("task", "show", "nobody"), 3, "no task 'nobody'"),
        (("run", "show", "999"), 3, "no run 999"),
        (("run", "annotate", "1"), 2, "write a note"),
        (("run", "annotate", "1", "--tag", "x"), 2, "is no tag"),
        (("run", "list", "--context", "x", "--local"), 2, "ask none"),
        (("template", "list", "--repository", "x", "--local"), 2, "no core is asked here"),
        (("template", "show", "sinlge"), 3, "did you mean single"),
        (("repository", "refresh", "nowhere"), 3, "nowhere"),
        (("environment", "list", "--timout"), 2, "No such option"),
    ],
)
def test_mistake_has_its_exit_status_and_says_what_is_wrong(
    at_core: Coconut, words: tuple[str, ...], status: int, text: str
) -> None:
    ran = at_core(*words)

    assert (ran.status, ran.out) == (status, "")
    assert text in ran.err
    assert "Traceback" not in ran.err


def test_name_that_may_be_two_environments_is_a_mistake(at_core: Coconut) -> None:
    first, second = make(at_core), make(at_core)

    assert first[0] == second[0], "ids of one life of a core begin alike"
    ran = at_core("environment", "show", first[0])

    assert ran.status == 2
    assert first in ran.err
    assert second in ran.err


def test_lists_are_tables_names_fields_and_yaml(at_core: Coconut) -> None:
    made = make(at_core, "--name", "shift")

    table = at_core("environment", "list")
    assert table.out.splitlines()[0].split() == ["id", "name", "workflow", "created", "state", "run"]
    assert "revision" in at_core("environment", "list", "-o", "wide").out.splitlines()[0]
    assert at_core("environment", "list", "-o", "name").out == f"{made}\n"
    fields = at_core("environment", "list", "--fields", "state,name")
    assert fields.out.split() == ["state", "name", "CONFIGURED", "shift"]
    told = at_core("environment", "list", "--fields", "name", "--json")
    assert json.loads(told.out)["environments"] == [{"name": "shift"}]
    assert "- environment: " in at_core("environment", "list", "-o", "yaml").out
    wrong = at_core("environment", "list", "--fields", "sate")
    assert wrong.status == 2
    assert "did you mean state" in wrong.err


def test_show_has_tasks_tree_and_variables(at_core: Coconut) -> None:
    make(at_core, "--name", "shift")

    ran = at_core("environment", "show", "shift", "--tasks", "--tree", "--variables")

    assert "  one   CONFIGURED" in ran.out
    assert "faulty on n1 pid" in ran.out
    assert "variables" in ran.out


def test_watch_prints_again_when_something_changes(at_core: Coconut, cluster: Cluster) -> None:
    with running(cluster, "environment", "list", "--watch", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["environments"] == []
        make(at_core, "--name", "shift")
        names: list[str] = []
        while names != ["shift"]:
            names = [one["name"] for one in json.loads(process.stdout.readline())["environments"]]
