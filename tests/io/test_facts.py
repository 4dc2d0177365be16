"""What an executor tells of its machine."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from libecs.io import facts
from libecs.io.procfs import boot_id


def test_all_facts_are_there_and_clock_and_disk_are_of_now(tmp_path: Path) -> None:
    known = facts.Facts(tmp_path)

    first, before = known.read(), time.time_ns() // 1_000_000
    second = known.read()

    assert first["boot_id"] == boot_id()
    assert int(second["unix_ms"]) >= before >= int(first["unix_ms"]) >= int(first["started_ms"])
    assert int(first["disk_free_mb"]) > 0
    assert first["pid"] == str(os.getpid())
    assert {"software", "libzmq", "python", "kernel", "host_name", "machine_id", "uid"} <= first.keys()
    assert all(isinstance(value, str) for value in first.values())


def test_a_disk_that_is_not_there_costs_one_fact(tmp_path: Path) -> None:
    assert "disk_free_mb" not in facts.Facts(tmp_path / "gone").read()


def test_a_machine_without_an_id_is_its_host_name(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("0123456789abcdef0123456789abcdef\n")
    bad.write_text("uninitialized\n")

    assert facts.machine_id(good) == "0123456789abcdef0123456789abcdef"
    assert facts.machine_id(bad) == facts.machine_id(tmp_path / "none") == socket.gethostname()


def test_memory_and_cpus_are_those_of_the_machine(tmp_path: Path) -> None:
    strange = tmp_path / "meminfo"
    strange.write_text("nothing\n")

    assert facts.memory_mb() > 100
    assert facts.memory_mb(strange) == facts.memory_mb(tmp_path / "none") == 0.0
    assert facts.usable_cpus() >= 1
