"""docs/protocol.md, and what the conformance suite says once more by hand, are about the protocol that there is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import attrs
import pytest

from libecs import fairmq, fsm
from libecs.wire import codec, task, telemetry
from occ import _link, _table, _telemetry
from tests.conformance import protocol

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """Return tools/generate_protocol.py as a module, without the source folder that it puts on the path."""
    path = list(sys.path)
    specification = importlib.util.spec_from_file_location("generate_protocol", ROOT / "tools" / "generate_protocol.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_the_tables_of_the_document_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_protocol.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_document_without_a_place_for_a_table_is_an_error(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="no place for task link"):
        generator.document("# The protocol\n")


def test_the_conformance_suite_knows_every_message_of_the_task_link() -> None:
    kinds = task.TASK.kinds()

    assert set(protocol.FIELDS) == set(kinds)
    for number, cls in kinds.items():
        hints: dict[str, Any] = get_type_hints(cls)
        plain = {name: hint if hint in (str, bool, float) else int for name, hint in hints.items()}
        plain |= dict.fromkeys((name for name in hints if name == "arguments"), dict)
        assert dict(protocol.FIELDS[number]) == plain
        assert [name for name, _ in protocol.FIELDS[number]] == [field.name for field in attrs.fields(cls)]


def test_the_conformance_suite_knows_both_machines() -> None:
    assert protocol.OCC_MACHINE.table == fsm.TASK
    working = {int(event): int(state) for event, state in fairmq.ON_THE_WAY.items()}
    assert working == protocol.FAIRMQ_MACHINE.by_way_of
    for state, row in fairmq.DEVICE.items():
        told = dict(protocol.FAIRMQ_MACHINE.table[state])
        assert told.pop(fairmq.DeviceEvent.ERROR_FOUND) == fairmq.DeviceState.ERROR
        assert told == row


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        ("`0x01`", codec.VERSION),
        ("8 MiB (8 388 608 bytes)", codec.MAX_FRAME_BYTES),
        ("Ids have at most 63 bytes", _table.MAX_ID_BYTES),
        ("at most 1023 bytes of\n  UTF-8", _table.MAX_ERROR_BYTES),
        ("the last 16 answers are kept", _table.MAX_ANSWERS),
        ("at least 16 peers", _link.MAX_PEERS),
        ("nor more than 64 names", _table.MAX_METRICS),
        ("Name and unit have at most 63 bytes", telemetry.MAX_NAME_BYTES),
        ("at most 1024 bytes", telemetry.MAX_LINE_BYTES),
        ("at most 100 each 100 ms", _telemetry.MAX_LINES),
        ("after 2000 of them", _link.TELEMETRY_CREDIT),
    ],
)
def test_a_number_in_the_document_is_the_one_in_the_code(sentence: str, number: int) -> None:
    assert sentence in DOCUMENT
    digits = [
        int(word.strip("`"), 0)
        for word in sentence.replace("8 388 608", "8388608").replace("(", "").split()
        if word.strip("`")[0].isdigit()
    ]
    assert number in digits


def test_the_conformance_suite_imports_nothing_of_ours_that_it_tests() -> None:
    for path in (ROOT / "tests" / "conformance").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import libecs" not in text, path
        assert "from libecs" not in text, path
        assert "from occ" not in text, path
