"""Every `==` of a template, each turned into `!=` alone.

Run as a module it prints, from the counter alone, which scenario sees each flip, with as few scenarios as it can:
    python -m tests.real.flips > tests/real/expected/flips.yaml
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from .counter import Counter, CountError, Role, read
from .oracle import (
    ENVIRONMENT_ID,
    FILE,
    FOLDERS,
    HERE,
    INTEGRATIONS,
    REAL,
    ROOT,
    Scenario,
    build_repo,
    compare_layer,
    compare_paths,
    expected_root_defaults,
    kv_of_few_hosts,
    scenarios,
)

EQUALS = re.compile(r"(?<![=!<>])==(?!=)")
"""Not `===`, which is JavaScript's: the condition under which a panel of the GUI shows a variable."""


@dataclass(frozen=True)
class Flip:
    """One `==`: its line from 1, and its number in that line from 1."""

    line: int
    number: int
    offset: int

    @property
    def name(self) -> str:
        return f"{self.line}.{self.number}"

    def of(self, text: str) -> str:
        return text[: self.offset] + "!=" + text[self.offset + 2 :]


@cache
def original(year: int) -> str:
    return (REAL / FOLDERS[year] / FILE).read_text()


def flips(year: int) -> Iterator[Flip]:
    text, last, number = original(year), 0, 0
    for match in EQUALS.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        number = number + 1 if line == last else 1
        last = line
        yield Flip(line, number, match.start())


def count_differences(scenario: Scenario, roles: list[Role]) -> Iterator[str]:
    """Compare what the counter knows: paths, kinds, variables, defaults."""
    found = {role.path: role for role in roles}
    ordered = scenario.name != "200"
    yield from compare_paths(scenario.paths, [role.path for role in roles], ordered=ordered)
    for entry in scenario.roles:
        role = found.get(ROOT + entry["path"])
        if not role:
            continue
        kind = "task" if "task" in entry else "call" if "call" in entry else "aggregator"
        if role.kind != kind:
            yield f"{role.path} is a {role.kind}, expected {kind}"
        yield from compare_layer(f"{role.path}: vars", entry.get("vars", {}), role.vars)
        if entry["path"]:
            yield from compare_layer(f"{role.path}: defaults", entry.get("defaults", {}), role.defaults)
        elif scenario.root_defaults:
            defaults = {name: (0, value) for name, value in expected_root_defaults(scenario).items()}
            yield from compare_layer(f"{role.path}: defaults", defaults, role.defaults)


def count_error_problems(scenario: Scenario, error: CountError) -> Iterator[str]:
    expected = scenario.error or {}
    if error.path != ROOT + expected["path"]:
        yield f"{error.path} fails, expected {expected['path']}"
    if error.message.split()[-1] != expected.get("says", error.message.split()[-1]):
        yield f"{error.message!r} does not name {expected['says']}"


def seen_by_counter(scenario: Scenario, repo: Path, text: str) -> bool:
    """Tell whether the counter, given this text of the template, differs from what is expected."""
    changed = {ROOT: read(text)}
    counter = Counter(repo, scenario.variables, kv_of_few_hosts(), INTEGRATIONS, changed, ENVIRONMENT_ID)
    try:
        roles = counter.roles(ROOT)
    except CountError as error:
        return scenario.error is None or any(count_error_problems(scenario, error))
    return scenario.error is not None or any(count_differences(scenario, roles))


def table() -> Mapping[int, Mapping[str, str]]:
    """Give year to flip to scenario, as it was found with the counter."""
    return dict(yaml.safe_load((HERE / "expected" / "flips.yaml").read_text()))


def smallest(reach: Mapping[str, set[str]]) -> dict[str, str]:
    """Choose scenarios greedily until each flip has one."""
    chosen: dict[str, str] = {}
    while open_flips := {flip: names for flip, names in reach.items() if flip not in chosen}:
        best, _ = max(
            Tally(name for names in open_flips.values() for name in sorted(names)).items(), key=lambda x: x[1]
        )
        chosen |= {flip: best for flip, names in open_flips.items() if best in names}
    return chosen


def main() -> None:
    """Print the table."""
    out = sys.stdout
    out.write("# year: {line.number of the ==: scenario that sees it flipped}; found by tests/real/flips.py\n")
    for year in (2026, 2022):
        with tempfile.TemporaryDirectory() as folder:
            repo = build_repo(year, Path(folder))
            reach = {
                flip.name: {
                    name
                    for name, scenario in scenarios(year).items()
                    if seen_by_counter(scenario, repo, flip.of(original(year)))
                }
                for flip in flips(year)
            }
        unseen = [flip for flip, names in reach.items() if not names]
        chosen = smallest({flip: names for flip, names in reach.items() if names})
        out.write(f"{year}: # {len(reach)} flips, {len(set(chosen.values()))} scenarios, unseen: {unseen}\n")
        for flip in reach:
            out.write(f"  '{flip}': {chosen.get(flip)}\n")


if __name__ == "__main__":
    main()
