"""The counter agrees with the files that were written by hand."""

from __future__ import annotations

import ast
import sys

import pytest

from .conftest import Count
from .counter import CountError
from .flips import count_differences, count_error_problems
from .oracle import (
    ERRORS,
    HERE,
    ROOT,
    TREES,
    Scenario,
    document,
    kv_of_200_hosts,
    named,
    one_host_scenario,
    scenario_of_200,
)


def test_the_counter_imports_nothing_of_ours() -> None:
    tree = ast.parse((HERE / "counter.py").read_text())

    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"yaml"}


@pytest.mark.parametrize("scenario", TREES, ids=named)
def test_the_counter_agrees_with_the_hand_written_roles(scenario: Scenario, count: Count) -> None:
    roles = count(scenario.year, scenario.variables)

    assert list(count_differences(scenario, roles)) == []


@pytest.mark.parametrize("scenario", ERRORS, ids=named)
def test_the_counter_fails_where_an_error_is_expected(scenario: Scenario, count: Count) -> None:
    assert scenario.error

    with pytest.raises(CountError) as failure:
        count(scenario.year, scenario.variables)

    assert list(count_error_problems(scenario, failure.value)) == []


@pytest.mark.parametrize("year", [2026, 2022])
def test_the_counter_agrees_with_the_rule_for_200_hosts(year: int, count: Count) -> None:
    content, scenario = document(f"{year}-200"), scenario_of_200(year)

    roles = count(year, scenario.variables, kv_of_200_hosts(content["detectors"]))

    assert list(count_differences(scenario, roles)) == []
    assert len(roles) == content["rule"]["count"]


@pytest.mark.parametrize("year", [2026, 2022])
def test_hosts_written_out_have_every_role_of_the_rule(year: int) -> None:
    content, scenario = document(f"{year}-200"), scenario_of_200(year)

    for host in content["written_out"]:
        by_rule = {path for path in scenario.paths if f".host-{host}" in path}
        assert by_rule == {ROOT + role["path"] for role in content["roles"] if f".host-{host}" in role["path"]}


def test_the_counter_resolves_configuration_in_the_four_ways(count: Count) -> None:
    content = document("2026-resolve")

    roles = {role.path: role for role in count(2026, content["variables"])}

    for path, variable, _, value in content["vars"]:
        assert roles[ROOT + path].vars[variable] == value


def test_the_wholes_switch_everything_on() -> None:
    on = {role.get("call", "").partition(".")[0] for role in one_host_scenario(2026, "full").roles}

    assert on >= {"dcs", "ddsched", "odc", "trg", "ccdb", "bookkeeping", "lhc", "kafka", "testplugin"}
