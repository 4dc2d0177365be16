"""Each `==` of readout-dataflow, turned into `!=` alone, is seen: by the counter and by the expander.

The table in expected/flips.yaml says which scenario sees which flip; the counter found it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libecs.errors import TemplateError

from .adapter import expand
from .conftest import Count
from .counter import CountError, Public, read
from .flips import Flip, flips, original, seen_by_counter, table
from .oracle import (
    FILE,
    INTEGRATIONS,
    ROOT,
    Scenario,
    compare_tree,
    error_problems,
    kv_of_few_hosts,
    preorder,
    scenarios,
)

ALL = [(year, flip) for year in (2026, 2022) for flip in flips(year)]
TABLE = table()


def named(value: int | Flip) -> str:
    return value.name if isinstance(value, Flip) else str(value)


def expanded(scenario: Scenario, repo: Path, text: str) -> dict[str, Any] | TemplateError:
    """Expand a scenario with this text of the template."""
    try:
        return expand(repo, ROOT, scenario.variables, kv_of_few_hosts(), INTEGRATIONS, {FILE: text})
    except TemplateError as error:
        return error


def first_difference(scenario: Scenario, outcome: dict[str, Any] | TemplateError) -> str | None:
    """Return the first difference from what is expected of a scenario."""
    if isinstance(outcome, TemplateError):
        return next(error_problems(scenario, outcome), None) if scenario.error else f"unexpected: {outcome}"
    return "an error was expected" if scenario.error else next(compare_tree(scenario, outcome), None)


def agree(outcome: dict[str, Any] | TemplateError, counted: list[str] | CountError) -> bool:
    """Tell whether expander and counter found the same roles, or failed at the same one."""
    if isinstance(counted, CountError):
        return isinstance(outcome, TemplateError) and outcome.path == counted.path
    if isinstance(outcome, TemplateError):  # the counter lets double paths pass, and knows no channels
        return "channel" in outcome.reason if len(counted) == len(set(counted)) else True
    return [node["path"] for node in preorder(outcome)] == counted


@pytest.mark.parametrize("year", [2026, 2022])
def test_every_equals_sign_is_in_the_table(year: int) -> None:
    assert [flip.name for flip in flips(year)] == list(TABLE[year])
    assert len(TABLE[year]) == {2026: 105, 2022: 47}[year]


@pytest.mark.parametrize(("year", "flip"), ALL, ids=named)
def test_a_flipped_equals_sign_changes_the_expansion(
    year: int, flip: Flip, repos: dict[int, Path], count: Count
) -> None:
    scenario, text = scenarios(year)[TABLE[year][flip.name]], flip.of(original(year))

    outcome = expanded(scenario, repos[year], text)

    assert first_difference(scenario, outcome)
    try:
        counted: list[str] | CountError = [role.path for role in count(year, scenario.variables, template=read(text))]
    except CountError as error:
        counted = error
    assert agree(outcome, counted)


@pytest.mark.parametrize(("year", "flip"), ALL[::7], ids=named)  # the counter found the table with all of them
def test_the_counter_sees_a_flipped_equals_sign(year: int, flip: Flip, repos: dict[int, Path]) -> None:
    scenario = scenarios(year)[TABLE[year][flip.name]]

    assert seen_by_counter(scenario, repos[year], flip.of(original(year)))


@pytest.mark.parametrize("year", [2026, 2022])
def test_every_scenario_of_the_table_is_met_unless_flipped(year: int, repos: dict[int, Path]) -> None:
    for name in sorted(set(TABLE[year].values())):
        scenario = scenarios(year)[name]
        assert first_difference(scenario, expanded(scenario, repos[year], original(year))) is None, name


@pytest.mark.parametrize("year", [2026, 2022])
def test_strict_equality_stands_only_in_conditions_of_the_gui(year: int) -> None:
    """`===` can't matter: it is only in `visibleif` of !public mappings, and of those expansion takes `value` alone."""
    text = original(year)

    found = [value.content.get("visibleif", "").count("===") for value in public_variables(read(text))]

    assert sum(found) == text.count("===") == {2026: 155, 2022: 154}[year]
    assert not re.search(r"(?<!visibleif): .*===", text)


@pytest.mark.parametrize("year", [2026, 2022])
def test_flipping_strict_equality_changes_nothing(year: int, repos: dict[int, Path]) -> None:
    scenario, changed = scenarios(year)["full"], original(year).replace("===", "!==")

    assert first_difference(scenario, expanded(scenario, repos[year], changed)) is None
    assert not seen_by_counter(scenario, repos[year], changed)


def public_variables(node: dict[str, Any]) -> Iterator[Public]:
    """Go through all !public variables of a template, whatever their role."""
    for layer in ("defaults", "vars"):
        yield from (value for value in (node.get(layer) or {}).values() if isinstance(value, Public))
    for child in node.get("roles", []):
        yield from public_variables(child)
