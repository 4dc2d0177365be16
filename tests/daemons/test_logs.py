"""Logs of daemons: lines, JSON, and journald's own protocol."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecsd.logs import JournalHandler, JsonLines, RateLimit, TextLines, priority


def record(text: str = "hello %s", *args: object, level: int = logging.INFO, line: int = 7) -> logging.LogRecord:
    made = logging.LogRecord("libecs.io.hub", level, "/x/hub.py", line, text, args or ("you",), None, func="f")
    made.created, made.msecs = 0.5, 500.0
    return made


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "journal"))
        other.settimeout(10)
        yield other


def fields(data: bytes) -> dict[str, str]:
    """Read a datagram as journald does."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_a_line_for_people_has_time_level_and_no_control_characters() -> None:
    text = TextLines().format(record("colour \x1b[31m %s", "é"))

    assert text == "1970-01-01T00:00:00.500Z info     libecs.io.hub: colour \ufffd[31m é"


def test_colours_are_for_terminals_and_for_what_is_wrong() -> None:
    lines = TextLines(colour=True)

    assert lines.format(record(level=logging.ERROR)).startswith("\x1b[31m")
    assert "\x1b" not in lines.format(record())


def test_json_lines_hold_what_a_line_carries() -> None:
    made = record()
    made.environment = "e1"

    document = json.loads(JsonLines("ecsd").format(made))

    assert document["time"] == "1970-01-01T00:00:00.500Z"
    assert (document["level"], document["program"], document["message"]) == ("info", "ecsd", "hello you")
    assert document["environment"] == "e1"


def test_journald_gets_priorities_fields_and_several_lines(journald: socket.socket) -> None:
    handler = JournalHandler(journald.getsockname(), program="ecsd")
    made = record("two\nlines %s", "here", level=logging.WARNING)
    made.node = "n1"

    handler.emit(made)

    got = fields(journald.recv(65536))
    assert got["MESSAGE"] == "two\nlines here"
    assert (got["PRIORITY"], got["SYSLOG_IDENTIFIER"], got["ECS_NODE"]) == ("4", "ecsd", "n1")
    assert (got["CODE_FILE"], got["CODE_LINE"], got["CODE_FUNC"]) == ("/x/hub.py", "7", "f")
    handler.close()


def test_what_journald_does_not_take_is_counted(tmp_path: Path) -> None:
    handler = JournalHandler(str(tmp_path / "nobody"), program="ecsd")

    handler.emit(record())

    assert handler.dropped == 1
    handler.close()


def test_levels_have_the_priorities_of_syslog() -> None:
    levels = [logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG]

    assert [priority(level) for level in levels] == [2, 3, 4, 6, 7]


def test_a_flood_of_one_origin_is_cut_and_others_are_not() -> None:
    limit = RateLimit(burst=2, interval_s=1000)

    passed = [limit.filter(record(line=1)) for _ in range(5)]

    assert passed == [True, True, False, False, False]
    assert limit.filter(record(line=2))
    assert limit.filter(record(line=1, level=logging.CRITICAL))


def test_the_next_line_after_a_flood_tells_how_many_were_left_out() -> None:
    limit = RateLimit(burst=1, interval_s=1000)
    for _ in range(4):
        limit.filter(record(line=1))
    limit._interval_s = 0  # the pause is over

    later = record(line=1)

    assert limit.filter(later)
    assert later.getMessage() == "hello you (3 like it were left out)"


SPEAK = """
import logging, os, sys
from ecsd import logs
logs.set_up(sys.argv[1], sys.argv[2], environment=os.environ, program="probe")
log = logging.getLogger("x")
log.debug("fine"); log.info("known")
try: 1 / 0
except ZeroDivisionError: log.exception("broken")
"""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_process_logs_to_stderr_from_its_level_on(format: str, project: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(project)}

    done = subprocess.run(
        [sys.executable, "-c", SPEAK, "info", format], env=environment, capture_output=True, text=True, check=True
    )

    assert "fine" not in done.stderr
    assert "known" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout == ""
    if format == "json":
        assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["info", "error"]
