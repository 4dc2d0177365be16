"""What the documents say is true: links lead somewhere, the table of exit codes is the code's, the examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libecs import errors

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def error_classes() -> Iterator[type[errors.EcsError]]:
    """Yield the classes of libecs.errors. Tests and tools may have more specific ones, which share the codes."""
    pending: list[type[errors.EcsError]] = [errors.EcsError]
    while pending:
        found = pending.pop()
        if found.__module__ == errors.__name__:
            yield found
        pending += found.__subclasses__()


def rows_of_exit_codes() -> dict[int, set[str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    return {int(code): set(re.findall(r"E_\w+", names)) for code, names in rows}


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    documented = rows_of_exit_codes()

    of_code: dict[int, set[str]] = {}
    for error in error_classes():
        of_code.setdefault(error.exit_code, set()).add(error.code)

    assert {code: names for code, names in documented.items() if names} == of_code
    assert {0, 10, 130} <= set(documented)


def test_the_glossary_is_in_order_and_names_nothing_twice() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "GLOSSARY.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert words == sorted(set(words), key=str.lower)


def test_the_decision_records_are_numbered_once_and_in_order() -> None:
    numbers = sorted(path.name.split("-")[0] for path in (ROOT / "docs" / "decisions").glob("*.md"))

    assert numbers == [f"{index:04}" for index in range(1, len(numbers) + 1)]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("index", range(len(python_blocks())))
def test_a_python_example_of_the_readme_runs(index: int, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(python_blocks()[index], encoding="utf-8")
    environment = os.environ | {
        "XDG_STATE_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTHONSAFEPATH": "1",
    }

    done = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
