"""Every line that an expected file cites says what is claimed of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from .oracle import FILE, FOLDERS, HERE, REAL, document, flat, hosts_of_200

FILES = ["2026-base", "2022-base", "2026-full", "2022-full", "2026-branches", "2022-branches", "2026-200", "2022-200"]


@cache
def lines(year: int, file: str) -> tuple[str, ...]:
    for folder in (REAL / FOLDERS[year], REAL / FOLDERS[2022], HERE / "overlay"):
        if (folder / file).is_file():
            return tuple((folder / file).read_text().splitlines())
    pytest.fail(f"{file} is nowhere")


def cited(year: int, at: Any) -> str:
    file, line = (FILE, at) if isinstance(at, int) else (at.rpartition(":")[0], int(at.rpartition(":")[2]))
    return lines(year, file)[line - 1]


def names_a_role(line: str, name: str) -> bool:
    """Tell whether `- name: X` is there and can become the name."""
    match = re.fullmatch(r"""\s*- name: *["']?(.*?)["']?(?:\s+#.*)?\s*""", line) or re.fullmatch(
        r"name: (?:!public )?(.*)", line
    )
    if not match:
        return False
    wild = re.sub(r"\\\{\\\{.*?\\\}\\\}", ".+", re.escape(match[1]))
    return re.fullmatch(wild, name) is not None


def role_problems(year: int, role: dict[str, Any]) -> Iterator[str]:
    where = role["path"] or "root"
    name = role["path"].rpartition(".")[2] or "readout-dataflow"
    if not names_a_role(cited(year, role["at"]), name):
        yield f"{where}: {cited(year, role['at'])!r} does not name it"
    for variable, (at, _) in [*role.get("vars", {}).items(), *role.get("defaults", {}).items()]:
        if not re.search(rf"(^|\s){variable} ?:|var: {variable}\b", cited(year, at)):
            yield f"{where}: {cited(year, at)!r} does not define {variable}"
    for channel in [*role.get("bind", []), *role.get("connect", [])]:
        if f"name: {channel['name']}" not in cited(year, channel["at"]):
            yield f"{where}: {cited(year, channel['at'])!r} is not {channel['name']}"
    if isinstance(role.get("timeout"), list):
        text, at = role["timeout"]
        if not re.search(rf'_timeout: "{text}"', cited(year, at)):
            yield f"{where}: {cited(year, at)!r} is not a timeout of {text}"
    if "call" in role:
        start = role["at"] - 1
        block = "\n".join(lines(year, FILE)[start : start + 8])
        moment, weight = role["trigger"]
        trigger = moment + (f"{weight:+d}" if weight else "")
        if f"func: {role['call']}" not in block or not re.search(rf"trigger: {re.escape(trigger)}(\s|$)", block):
            yield f"{where}: neither call nor trigger stand at {role['at']}"
        if ("await" in role) != ("await:" in block.split("- name", 2)[1]):
            yield f"{where}: await given or not, against {role['at']}"


@pytest.mark.parametrize("name", FILES)
def test_cited_lines_name_what_is_expected(name: str) -> None:
    year, content = int(name[:4]), document(name)

    problems = [problem for role in content.get("roles", []) for problem in role_problems(year, role)]
    for entry in content.get("scenarios", {}).values():
        problems += [p for role in entry.get("roles", []) for p in role_problems(year, role)]
        for path, at in flat(entry["paths"]):
            if not names_a_role(cited(year, at), path.rpartition(".")[2] or "readout-dataflow"):
                problems.append(f"{path}: {cited(year, at)!r} does not name it")

    assert problems == []


@pytest.mark.parametrize("name", ["2026-base", "2022-base", "2026-full", "2022-full"])
def test_cited_control_modes_are_those_of_the_classes(name: str) -> None:
    year, content = int(name[:4]), document(name)

    for task_class, (mode, at) in content["classes"].items():
        assert re.fullmatch(rf'\s*mode: "?{mode}"?', cited(year, at)), (task_class, at)
        assert at.startswith(f"tasks/{task_class}.yaml:")
    for role in content["roles"]:
        if "task" in role:
            mode = content["classes"][role["task"]["class"]][0]
            assert role["task"]["mode"] == ("hook" if mode == "basic" and "trigger" in role else mode), role["path"]


@pytest.mark.parametrize("name", ["2026-base", "2022-base", "2026-full", "2022-full"])
def test_dropped_root_defaults_are_mappings_without_public(name: str) -> None:
    year, rule = int(name[:4]), document(name)["root_defaults"]

    for variable, at in rule["dropped"].items():
        assert re.fullmatch(rf"  {variable}:( #!public)?", cited(year, at))
        assert cited(year, at + 1).startswith("    value:")
    for variable, (at, _) in rule["evaluated"].items():
        assert cited(year, at).startswith(f"  {variable}:")
        assert "{{" in cited(year, at + 1)


@pytest.mark.parametrize("name", ["2026-200", "2022-200"])
def test_the_rule_for_200_hosts_cites_its_roles(name: str) -> None:
    year, content = int(name[:4]), document(name)
    rule = content["rule"]
    of = [item for items in rule["per_host_of"].values() for item in items]

    for path, at in [*rule["once"], *rule["per_detector"], *rule["per_host"], *of]:
        last = path.rpartition(".")[2] or "readout-dataflow"
        assert names_a_role(cited(year, at), last), path
    hosts = hosts_of_200(content["detectors"])
    assert {host: hosts[host] for host in content["written_out"]} == content["written_out"]


@pytest.mark.parametrize("name", ["2026-branches", "2022-branches"])
def test_cited_lines_of_errors_say_what_fails(name: str) -> None:
    year = int(name[:4])

    for entry in document(name)["errors"].values():
        if "says" in entry["error"]:
            line = cited(year, entry["error"]["at"]).replace("GenerateDplSubworkflow", "dpl.Generate")
            assert entry["error"]["says"] in line
