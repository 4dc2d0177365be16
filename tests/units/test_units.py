"""The unit files: systemd has nothing to say against them, and they leave little open."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ecsd.coconut.install_units import PLACES, UNITS, home_protection, programs_folder, render, write_units
from ecsd.coconut.main import main
from libecs.errors import EcsError, UsageError

SERVICES = {"ecsd.service": 2.0, "ecs-executord.service": 4.5, "readoutd@.service": 4.5}
"""Service to the highest exposure that is accepted; a task inherits what is open for executors and readout."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs of the names that the units start: systemd looks whether they are there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ecsd", "ecs-executord", "readoutd"):
        (folder / name).symlink_to("/bin/true")
    return folder


@pytest.fixture
def root(tmp_path: Path, programs: Path) -> Path:
    write_units(tmp_path, bin=programs, user="root")
    return tmp_path / "etc" / "systemd" / "system"


def instance(name: str) -> str:
    return name.replace("@.", "@0.")


@needs_systemd
@pytest.mark.parametrize("name", [name for name in PLACES if name != "ecs.sysusers"])
def test_systemd_has_nothing_to_say_against_a_unit(root: Path, name: str) -> None:
    path = root / instance(name)
    if path.name != name:
        path.symlink_to(name)

    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)

    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@needs_systemd
def test_a_mistake_in_a_unit_would_be_said(root: Path) -> None:
    path = root / "ecsd.service"
    path.write_text(path.read_text().replace("Restart=always", "Restrat=always"))

    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)

    assert "Restrat" in said.stderr


@needs_systemd
@pytest.mark.parametrize(("name", "highest"), SERVICES.items())
def test_little_is_left_open(root: Path, name: str, highest: float) -> None:
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", root / name], capture_output=True, text=True, check=True
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)

    assert exposure is not None
    assert float(exposure[1]) <= highest


def test_a_restart_of_the_executor_touches_no_task() -> None:
    text = (UNITS / "ecs-executord.service").read_text()

    assert "KillMode=process" in text
    assert "SendSIGKILL=no" in text
    assert "PrivateTmp=" not in re.sub("#.*", "", text), "sockets of living tasks would be left behind in the old /tmp"


def test_the_core_has_a_bound_of_memory_and_tasks_have_none() -> None:
    assert "\nMemoryMax=4G\n" in (UNITS / "ecsd.service").read_text()
    assert "\nMemoryMax=" not in (UNITS / "ecs-executord.service").read_text()


def test_what_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    first = write_units(tmp_path, bin=Path("/opt/ecs/bin"), user="daq")
    again = write_units(tmp_path, bin=Path("/opt/ecs/bin"), user="daq")

    assert all(changed for _, changed in first)
    assert not any(changed for _, changed in again)
    assert "ExecStart=/opt/ecs/bin/ecsd" in first[0][0].read_text()
    assert "User=daq" in first[0][0].read_text()


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    for path, _ in write_units(tmp_path, bin=Path("/opt/ecs/bin"), user="daq"):
        assert not re.search(r"\{\w+\}", path.read_text()), path


def test_a_user_that_can_not_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name of a user"):
        write_units(tmp_path, bin=Path("/opt"), user="me\nExecStart=/bin/sh")


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")

    with pytest.raises(EcsError, match=r"etc/systemd/system/ecsd\.service cannot be written"):
        write_units(tmp_path, bin=Path("/opt"), user="ecs")


def test_homes_are_hidden_unless_the_programs_are_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    monkeypatch.setattr("sys.base_prefix", "/usr")

    assert home_protection(Path("/opt/ecs/bin")) == "yes"
    assert home_protection(Path("/home/daq/ecs/bin")) == "read-only"
    assert "ProtectHome=yes" in render("ProtectHome={home}", bin=Path("/opt/ecs/bin"), user="ecs")


def test_the_verb_prints_what_it_would_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-units", "--dry-run", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "ecs/install-units/1"
    assert set(document["units"]) == set(PLACES)
    assert document["written"] == []


def test_the_verb_writes_below_a_root(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["install-units", "--root", str(tmp_path), "--json"]) == 0

    assert str(tmp_path / "etc/sysusers.d/ecs.conf") in json.loads(capsys.readouterr().out)["written"]


def test_an_installation_without_the_daemons_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(EcsError, match="the program ecsd is not installed"):
        programs_folder()
