"""Templates that are wrong: every verb that reads them ends with 9, and shows the place with a caret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coconut.conftest import Coconut

GOOD = "name: w\nroles:\n  - {name: r, task: {load: t}}\n"
VERBS = ("show", "expand", "form")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for folder in ("workflows", "tasks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "workflows" / "w.yaml").write_text(GOOD)
    (tmp_path / "tasks" / "t.yaml").write_text("name: t\ncontrol: {mode: basic}\ncommand: {value: x}\n")
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("text", "code", "place", "caret"),
    [
        ("name: w\nroles:\n  - {name: r}\n", "E_TEMPLATE", "workflows/w.yaml:3:5", 5),
        ("name: w\nroles:\n\t- x\n", "E_TEMPLATE", "workflows/w.yaml:3:1", 1),
        ("name: w\nname: w\n", "E_TEMPLATE", "workflows/w.yaml:2:1", 1),
        ("name: v\nroles: []\n", "E_TEMPLATE", "workflows/w.yaml:1:7", 7),
        ("name: w\nvars: {a: '{{ b c }}'}\nroles: []\n", "E_EXPRESSION", "workflows/w.yaml:2:17", 17),
        ("x: !!python/object:os.system [id]\n", "E_TEMPLATE", "workflows/w.yaml:1:4", 4),
    ],
)
def test_a_template_that_cannot_be_read(
    coconut: Coconut, repository: Path, verb: str, text: str, code: str, place: str, caret: int
) -> None:
    (repository / "workflows" / "w.yaml").write_text(text)

    ran = coconut("template", verb, "w", "--repo", str(repository))
    told = coconut("template", verb, "w", "--repo", str(repository), "--json").document["error"]

    assert (ran.status, ran.out) == (9, "")
    assert ran.err.startswith(f"{code}  {place}: ")
    assert "    " + " " * (caret - 1) + "^" in ran.err.splitlines()
    assert (told["code"], told["exit_code"]) == (code, 9)
    assert f"{told['file']}:{told['line']}:{told['column']}" == place


@pytest.mark.parametrize("verb", VERBS)
def test_bytes_that_are_no_text(coconut: Coconut, repository: Path, verb: str) -> None:
    (repository / "workflows" / "w.yaml").write_bytes(b"name: w\nroles: \xff\n")

    ran = coconut("template", verb, "w", "--repo", str(repository))

    assert ran.status == 9
    assert "UTF-8" in ran.err


def test_what_only_expansion_finds(coconut: Coconut, repository: Path) -> None:
    (repository / "workflows" / "w.yaml").write_text(GOOD.replace("load: t", "load: '{{ nobody }}'"))

    ran = coconut("template", "expand", "w", "--repo", str(repository))

    assert ran.status == 9
    assert ran.err == (
        "E_EXPRESSION  workflows/w.yaml:3:32: role w.r: unknown variable 'nobody'\n"
        "      - {name: r, task: {load: '{{ nobody }}'}}\n"
        "                                   ^\n"
        "  next: set it in defaults or vars, or quote it if it is text\n"
    )
    assert coconut("template", "show", "w", "--repo", str(repository)).status == 0
