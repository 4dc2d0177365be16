"""Golden frames, read and written by both Python codecs. tests/occ/test_wire.c does the same in C."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from libecs.errors import DecodeError
from libecs.wire.task import TASK
from occ import _link, _table

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
GROUPS = json.loads((VECTORS / "task.json").read_text(encoding="utf-8"))


def names(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", GROUPS[group], ids=lambda vector: vector["name"])


def as_fields(message: Any) -> dict[str, Any]:
    return attrs.asdict(message)


@names("frames")
def test_a_golden_frame_is_decoded_and_encoded_again_byte_for_byte(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])

    message = TASK.decode(frame)

    assert type(message).__name__ == vector["kind"]
    assert as_fields(message) == vector["fields"]
    assert TASK.encode(message) == frame


@names("frames")
def test_the_device_codec_agrees_on_golden_frames(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])

    message = _link.decode(frame)

    assert type(message).__name__ == vector["kind"]
    assert as_fields(message) == vector["fields"]
    assert _link.encode(message) == frame


@names("readable")
def test_other_forms_of_a_message_are_read(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])

    assert as_fields(TASK.decode(frame)) == vector["fields"]
    assert as_fields(_link.decode(frame)) == vector["fields"]


@names("unreadable")
def test_bytes_that_are_no_message_are_refused(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])

    with pytest.raises(DecodeError):
        TASK.decode(frame)
    with pytest.raises(_link.FrameError):
        _link.decode(frame)


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    frame = bytes(_table.MAX_FRAME_BYTES + 1)

    with pytest.raises(_link.FrameError, match=f"a frame of {len(frame)} bytes"):
        _link.decode(frame)


def test_every_message_has_a_vector() -> None:
    kinds = {cls.__name__ for cls in TASK.kinds().values()}

    assert {vector["kind"] for vector in GROUPS["frames"]} == kinds


def test_the_vectors_are_what_the_codec_writes() -> None:
    subprocess.run([sys.executable, VECTORS / "make_task.py", "--check"], check=True)


def test_the_generated_table_of_python_equals_libecs() -> None:
    from libecs import fairmq, fsm

    pairs: tuple[tuple[object, object], ...] = (
        (_table.TASK, fsm.TASK),
        (_table.DEVICE, fairmq.DEVICE),
        (_table.ON_THE_WAY, fairmq.ON_THE_WAY),
    )
    for ours, theirs in pairs:
        assert ours == theirs
