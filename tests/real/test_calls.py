"""The table of integration calls agrees with the roles written by hand, and with itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .oracle import document, one_host_scenario
from .test_citations import cited

MOMENTS = {  # what fires, in order, in each part of a life
    "deploy": ["before_DEPLOY", "leave_STANDBY", "enter_DEPLOYED", "after_DEPLOY"],
    "configure": ["before_CONFIGURE", "leave_DEPLOYED", "enter_CONFIGURED", "after_CONFIGURE"],
    "start": ["before_START_ACTIVITY", "leave_CONFIGURED", "enter_RUNNING", "after_START_ACTIVITY"],
    "stop": ["before_STOP_ACTIVITY", "leave_RUNNING", "enter_CONFIGURED", "after_STOP_ACTIVITY"],
    "reset": ["before_RESET", "leave_CONFIGURED", "enter_DEPLOYED", "after_RESET"],
    "leave-deployed": ["before_EXIT", "before_DESTROY", "leave_DEPLOYED"],
    "destroy": ["DESTROY", "enter_DONE", "after_DESTROY"],
    "exit": ["after_EXIT"],
    "go-error": ["before_GO_ERROR", "leave_RUNNING", "enter_ERROR", "after_GO_ERROR"],
    "leave-error": ["before_DESTROY", "leave_ERROR"],
}
TABLE = document("integration-calls-2026")


def calls(steps: list[dict[str, Any]]) -> Iterator[tuple[str, str, int, Any]]:
    for step in steps:
        for call in step["calls"]:
            yield call["role"], step["moment"], step["weight"], call


@pytest.mark.parametrize("part", list(MOMENTS))
def test_a_part_has_every_call_role_of_its_moments(part: str) -> None:
    roles = [role for role in one_host_scenario(2026, "full").roles if "call" in role]
    own = MOMENTS[part]
    expected = sorted(
        (own.index(role["trigger"][0]), role["trigger"][1], role["path"], role["call"].removesuffix("()"))
        for role in roles
        if role["trigger"][0] in own
    )

    listed = sorted(
        (own.index(moment), weight, role, call["call"]) for role, moment, weight, call in calls(TABLE["parts"][part])
    )

    assert listed == expected


@pytest.mark.parametrize("part", list(MOMENTS))
def test_steps_stand_in_the_order_in_which_they_fire(part: str) -> None:
    order = [(MOMENTS[part].index(step["moment"]), step["weight"]) for step in TABLE["parts"][part]]

    assert order == sorted(set(order))


def test_awaits_are_those_of_the_roles() -> None:
    roles = {role["path"]: role for role in one_host_scenario(2026, "full").roles}

    for steps in TABLE["parts"].values():
        for path, moment, weight, call in calls(steps):
            own = [moment, weight]
            assert call.get("await", own) == roles[path].get("await", own), path
            assert cited(2026, call["at"]).strip().startswith(f"- name: {path.rpartition('.')[2]}")


def test_the_run_number_is_there_from_the_start_to_the_last_hook_of_the_run() -> None:
    for part, steps in TABLE["parts"].items():
        for step in steps:
            start = step["moment"] == "before_START_ACTIVITY" and step["weight"] < 0
            assert step["run_number"] == (part in ("start", "stop", "go-error") and not start), step


@pytest.mark.parametrize("life", ["run", "death-in-running"])
def test_counts_of_calls(life: str) -> None:
    made = [call for part in TABLE["lives"][life] for _, _, _, call in calls(part)]

    assert len(made) == TABLE["counts"][life]["with-tpc"]
    assert len([call for call in made if "only_with" not in call]) == TABLE["counts"][life]["without-tpc"]


def test_every_other_role_is_accounted_for() -> None:
    listed = {role for steps in TABLE["parts"].values() for role, *_ in calls(steps)}
    ours = {
        role["path"]
        for role in one_host_scenario(2026, "full").roles
        if "call" in role and not role["call"].startswith("testplugin.")
    }

    assert ours - listed == set(TABLE["never"])
