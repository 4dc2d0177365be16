"""For all combinations of the switches the counter and the expander find the same roles with the same variables."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from .adapter import expand
from .conftest import Count
from .oracle import INTEGRATIONS, ROOT, as_json, hosts_of_200, kv_of_200_hosts, kv_of_few_hosts, preorder

DETECTORS = ["FT0", "TPC", "ITS", "MCH"]
SWITCHES = ("dd", "qc", "trg", "dcs", "odc", "ft0")
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product((False, True), repeat=6)]
UID = re.compile(r"(?<=-)(uid|2oracleUid)\d+$")


def named(value: object) -> str:
    return "+".join(name for name, on in value.items() if on) or "none" if isinstance(value, dict) else str(value)


def variables(year: int, on: dict[str, bool]) -> dict[str, str]:
    """Translate switches into variables of that year's template."""
    as_text = {name: "true" if value else "false" for name, value in on.items()}
    common = {
        "dd_enabled": as_text["dd"],
        "qc_remote_enabled": as_text["qc"],
        "trg_enabled": as_text["trg"],
        "trg_runtime_config_file": "ltu-physics.cfg",
        "dcs_enabled": as_text["dcs"],
        "epn_enabled": as_text["odc"],
    }
    if year == 2026:
        jit = {"flp_workflows_jit_enabled": "false", "qc_remote_jit_enabled": "false"}
        return common | jit | {"ft0_dpl_workflow": "ft0-digits-qc" if on["ft0"] else "none"}
    return common | {  # see expected/2022-base.yaml for what 2022 can't do without
        "ctp_readout_enabled": "false",
        "odc_enabled": as_text["odc"],
        "dpl_workflow": "ft0-digits-qc" if on["ft0"] else "none",
        "dpl_command": "none",
        "qc_remote_workflow": "none",
    }


Shown = tuple[str, str, dict[str, str]]


def both(
    year: int, given: dict[str, str], kv: dict[str, Any], repo: Path, count: Count
) -> tuple[list[Shown], list[Shown]]:
    """Return (path, kind, variables) of every role as the counter and as the expander find it."""

    def shown(path: str, kind: str, values: dict[str, str]) -> Shown:
        return path, kind, {name: UID.sub("uid", value) for name, value in values.items()}

    counted = [shown(role.path, role.kind, role.vars) for role in count(year, given, kv)]
    tree = expand(repo, ROOT, given, kv, INTEGRATIONS)
    return counted, [shown(node["path"], node["kind"], node["vars"]) for node in preorder(tree)]


@pytest.mark.parametrize("on", COMBINATIONS, ids=named)
@pytest.mark.parametrize("hosts", [1, 4])
@pytest.mark.parametrize("year", [2026, 2022])
def test_all_combinations_of_switches(
    year: int, hosts: int, on: dict[str, bool], repos: dict[int, Path], count: Count
) -> None:
    given = variables(year, on) | {"hosts": as_json(["flp001", "flp002", "flp003", "flp004"][:hosts])}

    counted, expanded = both(year, given, kv_of_few_hosts(), repos[year], count)

    assert expanded == counted
    assert len({path for path, _, _ in expanded}) == len(expanded)


@pytest.mark.parametrize("on", [COMBINATIONS[0], COMBINATIONS[1], COMBINATIONS[32], COMBINATIONS[63]], ids=named)
@pytest.mark.parametrize("year", [2026, 2022])
def test_some_combinations_with_200_hosts(year: int, on: dict[str, bool], repos: dict[int, Path], count: Count) -> None:
    given = variables(year, on) | {"hosts": as_json(list(hosts_of_200(DETECTORS)))}

    counted, expanded = both(year, given, kv_of_200_hosts(DETECTORS), repos[year], count)

    assert expanded == counted


def test_switches_matter(repos: dict[int, Path], count: Count) -> None:
    given = {"hosts": '["flp001"]'}

    found = {tuple(role.path for role in count(2026, variables(2026, on) | given)) for on in COMBINATIONS}

    assert len(found) == 48  # without dd, ft0 makes no difference
