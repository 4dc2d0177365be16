"""Verbs against a real core with two nodes: what they do, print, and how they fail."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ecsd.coconut import carrying
from ecsd.coconut.documents import event_document

pytestmark = pytest.mark.timeout(180)
SINGLE = ("environment", "create", "single", "-q")


def make(at_core, *words: str) -> str:
    document = at_core(*SINGLE, *words, "--json").document
    assert document["ok"], document
    return document["environment"]


@contextlib.contextmanager
def running(cluster, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run coconut beside the test; it is interrupted at the end, and must say 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "ecsd.coconut.main", *words],
        env=cluster.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever is started in the background of a shell inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


def wait_for(true, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)  # what is waited for is a whole command line of its own: nothing tells of its outcome before


# a life


def test_a_life_from_create_to_destroy(at_core) -> None:
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


def test_people_get_lines_on_stdout_and_progress_on_stderr(at_core) -> None:
    ran = at_core("environment", "create", "single", "--name", "shift")

    assert ran.out.splitlines()[0].startswith("environment  ")
    assert "state        CONFIGURED" in ran.out
    assert "DEPLOY …" in ran.err
    assert "CONFIGURE done in" in ran.err
    assert re.search(r"^took         \S+ s in 2 transitions$", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out + ran.err


def test_misspelt_variable_is_noted(at_core) -> None:
    ran = at_core(*SINGLE[:-1], "-e", "valeu=3")

    assert ran.status == 0
    assert "valeu" in ran.err
    assert "did you mean value" in ran.err


def test_no_wait_gives_an_operation_that_can_be_followed(at_core) -> None:
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


def test_following_what_is_not_known_is_exit_3(at_core) -> None:
    ran = at_core("operation", "follow", "nothing")

    assert ran.status == 3
    assert "coconut operation list" in ran.err


def test_timeout_is_exit_8_and_the_operation_goes_on(at_core) -> None:
    ran = at_core(*SINGLE, "-e", "fault=slow", "-e", "moment=configure", "-e", "slow_ms=1500", "--timeout", "300ms")

    assert ran.status == 8
    assert "coconut operation follow" in ran.err
    operation = ran.err.split("coconut operation follow ")[1].split()[0]
    assert at_core("operation", "follow", operation, "-q", "--json").document["state"] == "CONFIGURED"


def test_ctrl_c_detaches_and_says_how_to_follow(at_core, cluster) -> None:
    words = ["environment", "create", "single", "-e", "fault=slow", "-e", "moment=configure", "-e", "slow_ms=3000"]
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


def test_failed_creation_is_exit_7_and_leaves_nothing_unless_kept(at_core) -> None:
    faults = ("-e", "fault=fail", "-e", "moment=configure")
    gone = at_core(*SINGLE, *faults)
    kept = at_core(*SINGLE, *faults, "--keep", "--name", "broken", "--json")

    assert gone.status == kept.status == 7
    assert "it was ended again" in gone.err
    assert kept.document["error"]["code"] == "E_TRANSITION"
    (info,) = at_core("environment", "list", "--json").document["environments"]
    assert (info["name"], info["state"]) == ("broken", "ERROR")
    assert info["cause"]


def test_error_of_a_transition_names_commands_that_help(at_core) -> None:
    made = make(at_core, "-e", "fault=fail", "-e", "moment=start", "--name", "shift")

    ran = at_core("environment", "control", "shift", "START", "-q")

    assert ran.status == 7
    assert f"coconut environment recover {made}" in ran.err


def test_event_that_is_not_allowed_is_exit_4(at_core) -> None:
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
def test_mistake_has_its_exit_status_and_says_what_is_wrong(at_core, words, status, text) -> None:
    ran = at_core(*words)

    assert (ran.status, ran.out) == (status, "")
    assert text in ran.err
    assert "Traceback" not in ran.err


def test_name_that_may_be_two_environments_is_a_mistake(at_core) -> None:
    first, second = make(at_core), make(at_core)

    assert first[0] == second[0], "ids of one life of a core begin alike"
    ran = at_core("environment", "show", first[0])

    assert ran.status == 2
    assert first in ran.err
    assert second in ran.err


# lists


def test_lists_are_tables_names_fields_and_yaml(at_core) -> None:
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


def test_show_has_tasks_tree_and_variables(at_core) -> None:
    make(at_core, "--name", "shift")

    ran = at_core("environment", "show", "shift", "--tasks", "--tree", "--variables")

    assert "  one   CONFIGURED" in ran.out
    assert "faulty on n1 pid" in ran.out
    assert "variables" in ran.out


def test_watch_prints_again_when_something_changes(at_core, cluster) -> None:
    with running(cluster, "environment", "list", "--watch", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["environments"] == []
        make(at_core, "--name", "shift")
        names: list[str] = []
        while names != ["shift"]:
            names = [one["name"] for one in json.loads(process.stdout.readline())["environments"]]


# modify, reconfigure, destroy


def test_modify_takes_a_detector_out_and_back(at_core) -> None:
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


def test_what_cannot_be_put_back_stays_out_and_nobody_is_told_to_destroy_the_rest(at_core) -> None:
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


def test_modify_of_what_is_not_there_says_what_is(at_core) -> None:
    at_core("environment", "create", "detectors", "--name", "all", "-q")

    role = at_core("environment", "modify", "all", "--exclude", "tpcc")
    node = at_core("environment", "modify", "all", "--exclude-node", "n7")
    both = at_core("environment", "modify", "all", "--exclude", "tpc", "--include", "tpc")

    assert (role.status, node.status, both.status) == (3, 3, 2)
    assert "did you mean tpc" in role.err
    assert "nodes are n1, n2" in node.err


def test_reconfigure_changes_a_property_and_no_pid(at_core) -> None:
    at_core("environment", "create", "field", "--name", "f", "-q")
    before = at_core("environment", "show", "f", "--json").document["tasks"]

    good = at_core("environment", "reconfigure", "f", "value=5", "-q", "--json")
    bad = at_core("environment", "reconfigure", "f", "valeu=5", "-q")

    assert good.document["ok"]
    assert bad.status == 9
    after = at_core("environment", "show", "f", "--json").document["tasks"]
    assert [task["pid"] for task in before] == [task["pid"] for task in after]


def test_destroy_of_a_running_one_needs_a_word(at_core) -> None:
    make(at_core, "--name", "shift")
    at_core("environment", "control", "shift", "START", "-q")

    plan = at_core("environment", "destroy", "shift", "--dry-run", "--json").document
    refused = at_core("environment", "destroy", "shift", "-q")
    done = at_core("environment", "destroy", "shift", "--allow-running", "-q", "--json").document

    assert (plan["allowed"], plan["ends"]) == (False, ["single.one"])
    assert refused.status == 4
    assert "--allow-running" in refused.err
    assert done["state"] == "DONE"


def test_kept_tasks_are_idle_and_can_be_ended(at_core) -> None:
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


def test_killing_a_task_of_an_environment_needs_force(at_core) -> None:
    make(at_core, "--name", "shift")
    (task,) = at_core("task", "list", "--environment", "shift", "--json").document["tasks"]

    refused = at_core("task", "kill", task["task"])
    killed = at_core("task", "kill", task["task"], "--force", "--json")

    assert refused.status in (4, 5)
    assert killed.status == 0
    wait_for(lambda: at_core("environment", "show", "shift", "--json").document["state"] == "ERROR")
    assert at_core("environment", "recover", "shift", "-q", "--json").document["state"] == "DEPLOYED"


def test_auto_takes_a_run_and_ends_by_itself(at_core) -> None:
    ran = at_core(*SINGLE, "--auto", "-e", "auto_stop_enabled=true", "-e", "auto_stop_timeout=300ms", "--json")

    assert ran.status == 0, ran.out
    run = at_core("run", "show", str(ran.document["run_number"]), "--json").document
    assert (run["condition"], run["end_reason"]) == ("GOOD", "TIMER")
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_viewer_may_look_and_do_nothing(at_core, cluster, monkeypatch) -> None:
    from libecs.access import Role

    make(at_core, "--name", "shift")
    cluster.add_key("vera", Role.VIEWER)
    for name, value in cluster.variables("vera").items():
        if name.startswith("ECS_"):
            monkeypatch.setenv(name, value)
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
    for name, value in cluster.variables().items():
        if name.startswith("ECS_"):
            monkeypatch.setenv(name, value)

    assert "shift" in looked.out
    # where nothing is to be cleaned, nothing is asked for
    assert {words: status for words, status in statuses.items() if status != 5} == {("task", "clean"): 0}
    assert denied["code"] == "E_DENIED"
    assert "viewer" in denied["message"].lower()


# runs


def test_take_diff_export_annotate(at_core, tmp_path) -> None:
    words = ("run", "take", "single", "--duration", "200ms", "-q", "--json")
    first = at_core(*words, "-e", "value=1").document["runs"][0]["number"]
    second = at_core(*words, "-e", "value=2").document["runs"][0]["number"]

    diff = at_core("run", "diff", str(first), str(second), "--json").document
    assert diff["user_variables"]["value"] == ["1", "2"]
    assert list(diff["configuration"]) == ["single.one"]
    assert not diff["same_setup"]
    assert "value" in at_core("run", "diff", str(first), str(second)).out

    noted = at_core("run", "annotate", str(first), "HV tripped", "--tag", "quality=bad", "--json").document
    assert noted["notes"][0]["text"] == "HV tripped"
    assert noted["tags"] == {"quality": "bad"}
    assert at_core("run", "annotate", str(first), "--tag", "quality=", "--json").document["tags"] == {}

    files = at_core("run", "export", str(first), "--to", str(tmp_path / "x"), "--csv", "--json").document["files"]
    assert json.loads((tmp_path / "x" / "run.json").read_text())["number"] == first
    assert (tmp_path / "x" / "metrics.csv").read_text().startswith("role,name,unit,n,sum")
    assert len(files) == 2
    assert json.loads(at_core("run", "export", str(first), "--to", "-").out)["number"] == first
    listed = at_core("run", "list", "--json").document["runs"]
    assert [run["number"] for run in listed][-2:] == [first, second]
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_repeat_takes_the_same_run(at_core) -> None:
    words = ("run", "take", "single", "--duration", "200ms", "-q", "--json", "-e", "value=3")
    first = at_core(*words).document["runs"][0]["number"]

    plan = at_core("run", "repeat", str(first), "--dry-run", "--json").document
    again = at_core("run", "repeat", str(first), "-q", "--json").document

    assert plan["variables"] == {"value": "3"}
    assert again["repeats"] == first
    (run,) = again["runs"]
    assert run["comment"] == f"repeats run {first}"
    diff = at_core("run", "diff", str(first), str(run["number"]), "--json").document
    assert diff["same_setup"], diff


def test_failed_run_is_exit_7_with_a_record(at_core) -> None:
    ran = at_core(
        "run", "take", "single", "--duration", "5s", "-e", "fault=crash", "-e", "moment=start", "-q", "--json"
    )

    assert ran.status == 7
    assert ran.document["error"]["code"] == "E_RUN"
    assert at_core("environment", "list", "--json").document["environments"] == []


# tasks, nodes, locks, events, logs


def test_nodes_are_listed_shown_drained(at_core) -> None:
    assert [node["node"] for node in at_core("node", "list", "--json").document["nodes"]] == ["n1", "n2"]
    at_core("node", "drain", "n1", "--reason", "new disk")
    shown = at_core("node", "show", "n1", "--json").document
    page = at_core("node", "show", "n1").out
    refused = at_core(*SINGLE)
    assert at_core("node", "undrain", "n1", "--json").document["drained"] is False

    assert (shown["drained"], shown["reason"]) == (True, "new disk")
    attributes, _, facts = page.partition("\nattributes\n")[2].partition("\nfacts\n")
    assert f"  machine_id  {shown['attributes']['machine_id']}\n" in attributes
    assert f"  machine_id  {shown['facts']['machine_id']}\n" in facts
    assert refused.status in (7, 9)
    assert "skew ms" in at_core("node", "list", "-o", "wide").out


def test_locks_are_taken_listed_released(at_core) -> None:
    taken = at_core("lock", "take", "its", "tpc", "--reason", "scan", "--json").document
    listed = at_core("lock", "list", "--json").document["locks"]
    at_core("lock", "release", "its")

    assert [lock["detector"] for lock in taken["locks"]] == ["its", "tpc"]
    assert [(lock["detector"], lock["reason"]) for lock in listed] == [("its", "scan"), ("tpc", "scan")]
    at_core("lock", "take", "tpc", "--reason", "laser")
    assert at_core("lock", "list", "--json").document["locks"][-1]["reason"] == "laser"
    released = at_core("lock", "release", "--json").document
    assert (released["detectors"], released["locks"]) == (["tpc"], [])
    none = at_core("lock", "release")
    assert (none.out, none.err, none.status) == ("released: nothing\n", "none was yours\n", 0)
    assert at_core("lock", "release", "its").err == "nobody had its\n"


def test_lock_of_somebody_else_is_exit_4_and_names_him(at_core, cluster, monkeypatch) -> None:
    from libecs.access import Role

    cluster.add_key("olga", Role.OPERATOR)
    at_core("lock", "take", "tpc", "--reason", "scan")
    for name, value in cluster.variables("olga").items():
        if name.startswith("ECS_"):
            monkeypatch.setenv(name, value)

    wait_for(lambda: at_core("info").status == 0)
    ran = at_core("lock", "request", "tpc")
    forced = at_core("lock", "take", "tpc", "--force")
    for name, value in cluster.variables().items():
        if name.startswith("ECS_"):
            monkeypatch.setenv(name, value)

    assert (ran.status, forced.status) == (4, 5)
    assert "owner" in ran.err
    assert "was told" in ran.err


def test_events_of_the_past_and_of_an_environment_that_is_gone(at_core) -> None:
    made = make(at_core, "--name", "shift")
    at_core("environment", "destroy", "shift", "-q")

    events = at_core("environment", "events", made, "--json").documents
    some = at_core("environment", "events", made, "--kind", "environment.state", "--last", "1000", "--json").documents
    lines = at_core("environment", "events", made).out.splitlines()

    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)
    assert {event["environment"] for event in events} == {made}
    assert [event["state"] for event in some][-1] == "DONE"
    assert len(lines) == len(events)
    assert at_core("environment", "events", "--since", str(events[-1]["sequence"]), "--json").documents[0] == events[-1]
    assert at_core("environment", "events", "neverwas").status == 3


def test_follow_goes_on_with_what_comes(at_core, cluster) -> None:
    with running(cluster, "environment", "events", "--follow", "--last", "1", "--json") as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["sequence"]]
        make(at_core, "--name", "shift")
        for line in process.stdout:
            event = json.loads(line)
            seen.append(event["sequence"])
            if event["kind"] == "environment.state" and event["state"] == "CONFIGURED":
                break

    assert seen == list(range(seen[0], seen[-1] + 1))


def test_logs_of_tasks_come_from_their_nodes(at_core) -> None:
    at_core("environment", "create", "single", "--name", "shift", "-q")

    whole = at_core("environment", "logs", "shift", "--stderr")
    one = at_core("task", "logs", "shift", "one@n1", "--json")
    none = at_core("environment", "logs", "shift", "--tasks", "nobody")

    assert (whole.status, one.status, none.status) == (0, 0, 3)
    assert one.documents == [line for line in one.documents if line["node"] == "n1"]
    assert "tasks are one" in none.err


def test_lines_of_tasks_are_shown_meanwhile_if_asked_for(at_core, monkeypatch) -> None:
    make(at_core, "--name", "shift")
    shown: list[bool] = []
    carry_out = carrying.carry_out

    def watched(ecs, output, target, operation, waiting, environment=""):
        shown.append(waiting.logs)
        return carry_out(ecs, output, target, operation, waiting, environment)

    monkeypatch.setattr(carrying, "carry_out", watched)
    with_logs = at_core("environment", "control", "shift", "START", "--logs")
    without = at_core("environment", "control", "shift", "STOP")

    assert (with_logs.status, without.status, shown) == (0, 0, [True, False])


def test_role_query_shows_variables(at_core) -> None:
    make(at_core, "--name", "shift", "-e", "value=9")

    document = at_core("role", "query", "shift", "one", "--json").document
    text = at_core("role", "query", "shift").out

    assert [role["path"] for role in document["roles"]] == ["single.one"]
    assert "value: 9" in text
    assert at_core("role", "query", "shift", "nobody").status in (0, 3)


# the core's host


def test_templates_of_the_core_are_the_same_documents(at_core, cluster) -> None:
    for words in (
        ("template", "list", "--all"),
        ("template", "show", "single"),
        ("template", "lint", "single"),
        ("template", "form", "single"),
    ):
        core = at_core(*words, "--json").document
        here = at_core(*words, "--repo", str(cluster.repository), "--json").document
        assert core == here


def test_plan_of_the_core_uses_its_nodes(at_core) -> None:
    plan = at_core("environment", "plan", "field", "--json")
    dry = at_core("environment", "create", "field", "--dry-run", "--json")
    impossible = at_core("environment", "plan", "field", "-e", 'hosts=["n1", "n9"]')

    assert plan.status == 0
    assert plan.document == dry.document
    assert {one["node"] for one in plan.document["placement"]} == {"n1", "n2"}
    assert impossible.status == 9
    assert "machine_id = n9" in impossible.out


def test_repositories_are_added_listed_removed(at_core, cluster, project) -> None:
    place = str(project / "examples" / "demo")
    at_core("repository", "add", "other", place)
    listed = at_core("repository", "list", "--json").document["repositories"]
    templates = at_core("template", "list", "other", "--json").document["templates"]
    at_core("repository", "refresh", "other")
    removed = at_core("repository", "remove", "other")

    assert next(one for one in listed if one["name"] == "other")["place"] == place
    assert [one["name"] for one in templates] == ["demo"]
    assert removed.status == 0
    assert "other" not in at_core("repository", "list", "-o", "name").out.split()


def test_info_doctor_and_top_tell_how_it_is(at_core) -> None:
    info = at_core("info", "--json").document
    doctor = at_core("doctor", "--json")
    top = at_core("top", "--json").document
    told = at_core("doctor").out

    assert (info["you"], info["role"].lower(), info["nodes"]) == ("owner", "admin", 2)
    names = {check["name"] for check in doctor.document["checks"]}
    assert {"python", "libzmq", "key", "port 47102", "core", "clock of the core", "node n1", "node n2"} <= names
    wrong = [check for check in doctor.document["checks"] if not check["ok"]]
    assert doctor.status == (1 if wrong else 0)
    assert all(check["fix"] for check in wrong)
    assert "✔ core: " in told
    assert len(top["nodes"]) == 2


def test_top_without_a_terminal_is_a_mistake(at_core) -> None:
    ran = at_core("top")

    assert ran.status == 2
    assert "--watch" in ran.err


def test_nobody_there_is_exit_6(at_core) -> None:
    nowhere = ("--context", "tcp://127.0.0.1:9")

    ran = at_core("environment", "list", *nowhere)
    doctor = at_core("doctor", *nowhere)

    assert ran.status == 6
    assert "127.0.0.1:9" in ran.err
    assert doctor.status == 1
    assert "✗ core: " in doctor.out
    assert "✗ port 9: 127.0.0.1: " in doctor.out


def test_event_documents_leave_out_what_says_nothing() -> None:
    from libecs.wire.info import Event

    document = event_document(Event(sequence=1, unix_ms=2, kind="lock", name="tpc", text="taken"))

    assert document == {"sequence": 1, "unix_ms": 2, "kind": "lock", "name": "tpc", "text": "taken", "ok": True}
