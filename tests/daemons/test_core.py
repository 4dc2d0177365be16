"""The process `ecsd`: its start, its end, its signals, and what it tells of itself."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Daemon

import libecs
from libecs.access import Role
from libecs.errors import Conflict, Denied
from libecs.io.keys import KeyPair, Keyring, KeyState, write_key_file
from tests.daemons.cores import IN_TIME_S, client_file, connect, logged, make_core, run_core

pytestmark = pytest.mark.timeout(240)

Make = Callable[..., Daemon]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Daemon] = []

    def begin(*options: str, **more: object) -> Daemon:
        core = make_core(tmp_path, *options, **more)  # type: ignore[arg-type] # passed on as they came
        made.append(core)
        core.start()
        core.wait_ready()
        return core

    yield begin
    for core in made:
        core.close()


# the start


async def test_a_user_of_the_same_machine_needs_nothing_but_the_state_folder(make: Make) -> None:
    core = make()

    async with connect(core) as ecs:
        info = await ecs.info()

    assert (info.you, info.role) == ("owner", "admin")
    assert info.facts["pid"] == str(core.pid)
    assert info.facts["state"] == str(core.state)
    assert info.version
    assert not info.problems
    assert (core.state / "client.toml").stat().st_mode & 0o777 == 0o600
    assert (core.state / "keys" / "core.key").stat().st_mode & 0o777 == 0o600


def test_readiness_comes_with_the_endpoint_in_use(make: Make) -> None:
    core = make()

    endpoint = client_file(core)["endpoint"]
    assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9][0-9]*", endpoint)
    assert f"listening at {endpoint}" in core.statuses[0]
    host, _, port = endpoint.removeprefix("tcp://").partition(":")
    socket.create_connection((host, int(port)), timeout=20).close()


def test_a_second_core_on_the_same_state_names_the_first_and_leaves_it_alone(make: Make, tmp_path: Path) -> None:
    core = make()

    second = run_core(tmp_path)

    assert second.returncode == 4
    assert f"in use by process {core.pid} on {socket.gethostname()}" in " ".join(second.stderr.split())
    assert core.alive


def test_a_port_that_is_taken_is_a_conflict(make: Make, tmp_path: Path) -> None:
    core = make()
    other = tmp_path / "other"
    other.mkdir()

    second = run_core(other, "--listen", client_file(core)["endpoint"])

    assert second.returncode == 4
    assert "cannot listen at" in second.stderr


def test_without_keys_it_listens_to_its_own_machine_only(tmp_path: Path) -> None:
    done = run_core(tmp_path, "--insecure", "--listen", "tcp://*:0")

    assert done.returncode == 2
    assert "would let anybody in" in done.stderr
    assert not (tmp_path / "core").exists()


async def test_without_keys_it_says_so_wherever_it_can(make: Make) -> None:
    core = make("--insecure", "--log-format", "text")

    async with connect(core) as ecs:
        info = await ecs.info()
        for asking in (
            ecs.work("key.invite", name="n1", kind="node"),
            ecs.consult("key.list"),
            ecs.consult("audit.tail"),
        ):
            with pytest.raises(Conflict, match="this core runs with --insecure: it has no keys") as caught:
                await asking
            assert "ecs-executord --insecure" in caught.value.hint

    assert info.you == "insecure"
    assert info.facts["insecure"].startswith("INSECURE")
    assert info.problems
    assert "INSECURE" in core.log.read_text()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--lisden", "x"], 2, "did you mean --listen?"),
        (["--listen", "http://x"], 9, "command line --listen: listen: 'http://x' is no endpoint"),
        (["--metrics", "here:now"], 9, "'here:now' is not HOST:PORT"),
        (["--kv", "/no/such/file"], 3, "there is no file /no/such/file"),
        (["--listen", "tcp://127.0.0.1:99999"], 9, "is no endpoint"),
    ],
)
def test_wrong_settings_end_it_at_once(tmp_path: Path, options: list[str], code: int, words: str) -> None:
    done = run_core(tmp_path, *options)

    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_key_files_that_others_can_read_end_it_at_once(make: Make, tmp_path: Path) -> None:
    make().stop()
    (tmp_path / "core" / "keys" / "core.key").chmod(0o644)

    done = run_core(tmp_path)

    assert done.returncode == 5
    assert "can be read by others" in " ".join(done.stderr.split())  # it is folded, with a long path in it


def test_show_settings_and_version_start_nothing(tmp_path: Path) -> None:
    shown, version = run_core(tmp_path, "--show-settings"), run_core(tmp_path, "--version")

    assert (shown.returncode, version.returncode) == (0, 0)
    assert re.search(r"^listen +tcp://127\.0\.0\.1:0 +command line --listen$", shown.stdout, re.MULTILINE)
    assert version.stdout.startswith("ecsd ")
    assert not (tmp_path / "core").exists()


async def test_a_repository_that_is_not_there_costs_nothing_but_a_problem(make: Make, tmp_path: Path) -> None:
    good = tmp_path / "good" / "workflows"
    good.mkdir(parents=True)

    core = make("--repository", "/no/such/place", "--repository", f"lab={good.parent}")

    async with connect(core) as ecs:
        info = await ecs.info()
        listed = await ecs.consult("repository.list")
    assert [problem for problem in info.problems if "/no/such/place" in problem]
    assert {one["name"]: one.get("error", "") != "" for one in listed["repositories"]} == {"place": True, "lab": False}


# the end, and signals


async def test_sigterm_ends_it_soon_and_in_order(make: Make) -> None:
    core = make()
    async with connect(core):
        assert core.stop(timeout_s=20) == 0  # a figure is taken elsewhere; 2 s is the aim

    core.hear()
    assert core.statuses[-1] == "ending; environments and tasks go on"


async def test_sighup_reads_the_keys_anew(make: Make, tmp_path: Path) -> None:
    core = make()
    pair = KeyPair.new()
    write_key_file(tmp_path / "alice.key", pair)
    Keyring(core.state / "keys" / "principals").add(
        "alice", Role.VIEWER, pair.public, state=KeyState.APPROVED, by="test", now_ms=1
    )

    core.hear()
    core._ready = False  # it says so again when it has read them
    core.hang_up()
    core.wait_ready()

    found = client_file(core)
    async with libecs.connect(found["endpoint"], key=tmp_path / "alice.key", core_key=found["core_key"]) as ecs:
        assert (await ecs.info()).you == "alice"


def test_keys_epoch_and_instance_survive_a_kill(make: Make) -> None:
    core = make("--listen", "tcp://127.0.0.1:0")
    first, instance = client_file(core), (core.state / "instance").read_text()
    epochs = [int(re.search(r"epoch (\d+)", core.statuses[0])[1])]  # type: ignore[index] # None fails the test

    core.kill()
    core.start()
    core.wait_ready()

    epochs.append(int(re.search(r"epoch (\d+)", core.statuses[0])[1]))  # type: ignore[index] # None fails the test
    assert client_file(core)["core_key"] == first["core_key"]
    assert (core.state / "instance").read_text() == instance
    assert epochs[1] == epochs[0] + 1


# systemd


def test_the_watchdog_is_fed_while_it_works_and_not_while_it_is_stopped(tmp_path: Path) -> None:
    core = make_core(tmp_path, environment={"WATCHDOG_USEC": "300000"})
    core.start()
    try:
        core.wait_ready()
        notify = core._notify
        assert notify is not None
        notify.settimeout(60)
        while b"WATCHDOG=1" not in notify.recv(4096):
            pass

        core.pause()
        assert os.waitid(os.P_PID, core.pid, os.WSTOPPED | os.WNOWAIT) is not None
        while select.select([notify], [], [], 0)[0]:
            notify.recv(4096)
        assert select.select([notify], [], [], 1.0)[0] == []  # three times what the watchdog allows

        core.resume()
        while b"WATCHDOG=1" not in notify.recv(4096):
            pass
    finally:
        core.close()


# Prometheus


async def test_metrics_are_those_of_this_core(make: Make) -> None:
    core = make("--metrics", "127.0.0.1:0", "--log-format", "text")
    url = re.search(r"metrics at (\S+)", core.log.read_text())[1]  # type: ignore[index] # None fails the test

    def read() -> dict[str, str]:
        with urllib.request.urlopen(url, timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    async with connect(core) as ecs:
        info = await ecs.info()
        async with asyncio.timeout(IN_TIME_S):  # of a link that broke because this machine stood still, it knows yet
            while True:
                values = await asyncio.to_thread(read)
                if (values['ecs_peers{channel="client"}'], values["ecs_connections"]) == ("1", "1"):
                    break

    assert values["ecs_epoch"] == str(info.epoch)
    assert float(values["ecs_ticks_total"]) > 0
    assert float(values["ecs_commits_total"]) > 0
    assert float(values["ecs_watchdog_age_seconds"]) < 60
    assert values["ecs_disk_has_room"] == "1"


async def test_a_key_that_is_refused_is_in_the_log(make: Make) -> None:
    core = make("--log-format", "text")
    pair = KeyPair.new()
    found = client_file(core)
    file = core.state / "stranger.key"
    write_key_file(file, pair)

    stranger = libecs.connect(found["endpoint"], key=file, core_key=found["core_key"], timeout=20)
    with pytest.raises(Denied):
        async with stranger:
            pass

    line = await logged(core, "handshake", "its key is not known")
    assert " warning " in line
    assert "from 127.0.0.1: its key is not known" in line
    assert f"(key {pair.public[:8]})" in line


# what admins do to repositories


async def test_repositories_that_are_added_are_there_in_the_next_life(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "lab"
    (place / "workflows").mkdir(parents=True)
    core = make()

    async with connect(core) as ecs:
        added = await ecs.work("repository.add", name="lab", place=str(place))
        assert added == {"name": "lab", "place": str(place), "default": True}
        with pytest.raises(libecs_error("Conflict"), match="is there already"):
            await ecs.work("repository.add", name="lab", place=str(place))
        with pytest.raises(libecs_error("NotFound"), match="there is no repository"):
            await ecs.work("repository.add", name="none", place="/no/such/place")
        with pytest.raises(libecs_error("InvalidInput"), match="is no name and place"):
            await ecs.work("repository.add", name="a b", place=str(place))
        with pytest.raises(libecs_error("NotFound"), match="there is no repository 'x'"):
            await ecs.work("repository.remove", name="x")
    core.kill()
    core.start()
    core.wait_ready()

    async with connect(core) as ecs:
        (listed,) = (await ecs.consult("repository.list"))["repositories"]
        assert (listed["name"], listed["default"]) == ("lab", True)
        assert await ecs.work("repository.refresh") == {"refreshed": {"lab": "local"}}
        assert await ecs.work("repository.default", name="lab") == {"name": "lab", "revision": ""}
        assert await ecs.work("repository.remove", name="lab") == {"name": "lab"}
        assert (await ecs.consult("repository.list"))["repositories"] == []


def libecs_error(name: str) -> type[Exception]:
    import libecs

    return getattr(libecs, name)  # type: ignore[no-any-return] # the errors of libecs are exceptions


def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    core = make_core(tmp_path)
    core.start()
    try:
        while not (tmp_path / "core" / "lock").exists():
            assert core.alive
        core._signal(signal.SIGTERM)
        assert core.stop(timeout_s=60) in (0, -signal.SIGTERM)
    finally:
        core.close()
