"""The expander gives what was written by hand from the real templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from libecs.errors import EcsError, TemplateError

from .adapter import expand, load_all, properties
from .oracle import (
    ERRORS,
    FILE,
    FOLDERS,
    HERE,
    INTEGRATIONS,
    REAL,
    ROOT,
    TREES,
    Scenario,
    channel_properties,
    compare_rates,
    compare_tree,
    document,
    error_problems,
    kv_of_200_hosts,
    kv_of_few_hosts,
    named,
    preorder,
    scenario_of_200,
    scenarios,
)


@pytest.mark.parametrize("year", [2026, 2022])
def test_every_real_template_loads(year: int) -> None:
    assert load_all(REAL / FOLDERS[year]) == []
    assert len(list((REAL / FOLDERS[year]).glob("*/*.yaml"))) == {2026: 19, 2022: 17}[year]


@pytest.mark.parametrize("scenario", TREES, ids=named)
def test_the_tree_is_the_hand_written_one(scenario: Scenario, repos: dict[int, Path]) -> None:
    tree = expand(repos[scenario.year], ROOT, scenario.variables, kv_of_few_hosts(), INTEGRATIONS)

    assert list(compare_tree(scenario, tree)) == []


@pytest.mark.parametrize("year", [2026, 2022])
def test_the_tree_shows_rate_logging_evaluated(year: int, repos: dict[int, Path]) -> None:
    scenario = scenarios(year)["full"]

    tree = expand(repos[year], ROOT, scenario.variables, kv_of_few_hosts(), INTEGRATIONS)

    assert list(compare_rates(scenario, tree)) == []


@pytest.mark.parametrize("scenario", [s for s in TREES if s.complete], ids=named)
def test_configure_gives_each_task_the_channel_properties(scenario: Scenario, repos: dict[int, Path]) -> None:
    told = properties(repos[scenario.year], ROOT, scenario.variables, kv_of_few_hosts(), INTEGRATIONS)

    assert told == channel_properties(scenario)


@pytest.mark.parametrize("scenario", ERRORS, ids=named)
def test_the_error_is_the_expected_one(scenario: Scenario, repos: dict[int, Path]) -> None:
    with pytest.raises(EcsError) as failure:
        expand(repos[scenario.year], ROOT, scenario.variables, kv_of_few_hosts(), INTEGRATIONS)

    assert list(error_problems(scenario, failure.value)) == []


@pytest.mark.parametrize("year", [2026, 2022])
def test_200_hosts_follow_the_rule(year: int, repos: dict[int, Path]) -> None:
    content, scenario = document(f"{year}-200"), scenario_of_200(year)

    tree = expand(repos[year], ROOT, scenario.variables, kv_of_200_hosts(content["detectors"]), INTEGRATIONS)

    assert list(compare_tree(scenario, tree)) == []


def test_configuration_is_resolved_in_the_four_ways(repos: dict[int, Path]) -> None:
    content = document("2026-resolve")

    tree = expand(repos[2026], ROOT, content["variables"], HERE / "kv.yaml", INTEGRATIONS)

    found = {node["path"]: node["vars"] for node in preorder(tree)}
    assert {(path, name): found[ROOT + path][name] for path, name, _, _ in content["vars"]} == {
        (path, name): value for path, name, _, value in content["vars"]
    }


def test_a_template_without_odc_needs_no_odc(repos: dict[int, Path]) -> None:
    scenario = scenarios(2026)["base"]

    tree = expand(repos[2026], ROOT, scenario.variables, kv_of_few_hosts(), {})

    assert list(compare_tree(scenario, tree)) == []


def test_a_function_of_an_absent_integration_is_an_error_where_it_is_called(repos: dict[int, Path]) -> None:
    variables = {**scenarios(2026)["base"].variables, "epn_enabled": "true"}

    with pytest.raises(TemplateError) as failure:
        expand(repos[2026], ROOT, variables, kv_of_few_hosts(), {})

    assert (failure.value.file, failure.value.line) == (FILE, 1376)
    assert "odc" in failure.value.reason
