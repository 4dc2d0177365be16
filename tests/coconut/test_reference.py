"""docs/coconut.md is what the verbs say, and each document that is printed has a schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from ecsd.coconut.schemas import SCHEMAS
from tests.coconut.conftest import Coconut


def test_the_reference_is_fresh(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(project / "tools" / "generate_cli.py"), "--check"],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": ""},
        check=False,
    )

    assert done.returncode == 0, "run tools/generate_cli.py"


def test_every_document_has_a_schema(project: Path) -> None:
    named: set[str] = set()
    for folder in ("ecsd/coconut", "libecs/io/consult"):
        for path in (project / folder).glob("*.py"):
            text = path.read_text()
            named.update(re.findall(r'"(ecs/[a-z-]+/1)"', text))
            found = re.findall(r'output\.(?:document|line)\(\s*"([a-z-]+)"', text)
            named.update(f"ecs/{name}/1" for name in found)

    assert named <= set(SCHEMAS)
    assert len(named) > 40


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_schemas_are_printed(coconut: Coconut) -> None:
    assert json.loads(coconut("about", "--schema", "ecs/run/1").out) == SCHEMAS["ecs/run/1"]
    assert json.loads(coconut("about", "--schema", "all").out) == SCHEMAS
    ran = coconut("about", "--schema", "ecs/runn/1")
    assert ran.status == 3
    assert "did you mean ecs/run/1" in ran.err
