"""What belongs to no environment: nodes, locks, templates, repositories, and how the core is."""

from __future__ import annotations

from pathlib import Path

import pytest
from fieldkit.cluster import Cluster

from libecs.access import Role
from tests.coconut.atcore import SINGLE, act_as, wait_for
from tests.coconut.conftest import Coconut

pytestmark = pytest.mark.timeout(300)


def lines_of(page: str) -> list[str]:
    return [" ".join(line.split()) for line in page.splitlines()]


def test_nodes_are_listed_shown_drained(at_core: Coconut) -> None:
    assert [node["node"] for node in at_core("node", "list", "--json").document["nodes"]] == ["n1", "n2"]
    at_core("node", "drain", "n1", "--reason", "new disk")
    shown = at_core("node", "show", "n1", "--json").document
    page = at_core("node", "show", "n1").out
    refused = at_core(*SINGLE)
    assert at_core("node", "undrain", "n1", "--json").document["drained"] is False

    assert (shown["drained"], shown["reason"]) == (True, "new disk")
    attributes, _, facts = page.partition("\nattributes\n")[2].partition("\nfacts\n")
    # How wide the names are depends on which facts are there: the clock's skew is known a moment later.
    assert f"machine_id {shown['attributes']['machine_id']}" in lines_of(attributes)
    assert f"machine_id {shown['facts']['machine_id']}" in lines_of(facts)
    assert refused.status in (7, 9)
    assert "skew ms" in at_core("node", "list", "-o", "wide").out


def test_locks_are_taken_listed_released(at_core: Coconut) -> None:
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


def test_lock_of_somebody_else_is_exit_4_and_names_him(
    at_core: Coconut, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_key("olga", Role.OPERATOR)
    at_core("lock", "take", "tpc", "--reason", "scan")
    act_as(monkeypatch, cluster, "olga")
    wait_for(lambda: at_core("info").status == 0)
    ran = at_core("lock", "request", "tpc")
    forced = at_core("lock", "take", "tpc", "--force")
    act_as(monkeypatch, cluster, "owner")

    assert (ran.status, forced.status) == (4, 5)
    assert "owner" in ran.err
    assert "was told" in ran.err


def test_templates_of_the_core_are_the_same_documents(at_core: Coconut, cluster: Cluster) -> None:
    for words in (
        ("template", "list", "--all"),
        ("template", "show", "single"),
        ("template", "lint", "single"),
        ("template", "form", "single"),
    ):
        core = at_core(*words, "--json").document
        here = at_core(*words, "--repo", str(cluster.repository), "--json").document
        assert core == here


def test_plan_of_the_core_uses_its_nodes(at_core: Coconut) -> None:
    plan = at_core("environment", "plan", "field", "--json")
    dry = at_core("environment", "create", "field", "--dry-run", "--json")
    impossible = at_core("environment", "plan", "field", "-e", 'hosts=["n1", "n9"]')

    assert plan.status == 0
    assert plan.document == dry.document
    assert {one["node"] for one in plan.document["placement"]} == {"n1", "n2"}
    assert impossible.status == 9
    assert "machine_id = n9" in impossible.out


def test_repositories_are_added_listed_removed(at_core: Coconut, cluster: Cluster, project: Path) -> None:
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


def test_info_doctor_and_top_tell_how_it_is(at_core: Coconut) -> None:
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


def test_top_without_a_terminal_is_a_mistake(at_core: Coconut) -> None:
    ran = at_core("top")

    assert ran.status == 2
    assert "--watch" in ran.err


def test_nobody_there_is_exit_6(at_core: Coconut) -> None:
    nowhere = ("--context", "tcp://127.0.0.1:9")

    ran = at_core("environment", "list", *nowhere)
    doctor = at_core("doctor", *nowhere)

    assert ran.status == 6
    assert "127.0.0.1:9" in ran.err
    assert doctor.status == 1
    assert "✗ core: " in doctor.out
    assert "✗ port 9: 127.0.0.1: " in doctor.out
