"""Settings of the executor: what `join` left, where it all came from, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecsd.executor.daemon import kept_ports
from ecsd.executor.options import (
    PROGRAM,
    ExecutorOptions,
    curve_of,
    host_name,
    is_set_by_hand,
    state_folder,
    with_joined,
)
from ecsd.settings import Loaded, load
from libecs.errors import EcsError, InvalidInput, NotFound, UsageError
from libecs.io.keys import KeyPair, toml_text, write_key_file

CORE_KEY = KeyPair.new().public


def loaded(state: Path, *words: str) -> Loaded[ExecutorOptions]:
    return load(PROGRAM, ExecutorOptions, ["--state", str(state), *words], {})


def joined(state: Path, **others: str) -> Path:
    values = {"core": "tcp://head:47102", "core_key": CORE_KEY, "key": "/k/node.key", "node": "flp1", **others}
    file = state / "core.toml"
    file.write_text("".join(f"{name} = {toml_text(value)}\n" for name, value in values.items()))
    return file


def test_what_join_wrote_is_stronger_than_defaults_only(tmp_path: Path) -> None:
    file = joined(tmp_path)

    plain = with_joined(loaded(tmp_path))
    told = with_joined(loaded(tmp_path, "--node", "other", "--core", "tcp://elsewhere:1"))

    assert (plain.settings.core, plain.settings.node) == ("tcp://head:47102", "flp1")
    assert (plain.settings.core_key, plain.settings.key) == (CORE_KEY, Path("/k/node.key"))
    assert {plain.sources[name] for name in ("core", "core_key", "key", "node")} == {str(file)}
    assert (told.settings.core, told.settings.node, told.settings.core_key) == ("tcp://elsewhere:1", "other", CORE_KEY)
    assert told.sources["node"] == "command line --node"


def test_what_somebody_has_set_beside_what_join_wrote_is_known_as_his(tmp_path: Path) -> None:
    never = with_joined(loaded(tmp_path))
    joined(tmp_path)
    plain = with_joined(loaded(tmp_path))
    told = with_joined(loaded(tmp_path, "--core-key", CORE_KEY))

    assert not is_set_by_hand(never, "core_key")
    assert not is_set_by_hand(plain, "core_key")
    assert is_set_by_hand(told, "core_key")
    assert not is_set_by_hand(told, "core")


def test_who_never_joined_has_the_settings_as_they_are(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert with_joined(settings) is settings
    assert settings.settings.node == host_name({})[0]
    assert settings.sources["node"] == "host name"


def test_what_join_wrote_and_somebody_damaged_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"core\.toml: core: 'nowhere' is no endpoint"):
        joined(tmp_path, core="nowhere")
        with_joined(loaded(tmp_path))
    (tmp_path / "core.toml").write_text("core = ")
    with pytest.raises(InvalidInput, match=r"core\.toml: .*"):
        with_joined(loaded(tmp_path))
    (tmp_path / "core.toml").unlink()
    (tmp_path / "core.toml").mkdir()
    with pytest.raises(EcsError, match=r"core\.toml cannot be read"):
        with_joined(loaded(tmp_path))


def test_without_a_core_or_its_key_one_is_told_to_join(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no core is named") as error:
        curve_of(loaded(tmp_path).settings)
    assert "coconut node invite NAME" in error.value.hint
    with pytest.raises(UsageError, match="the key of the core at tcp://head:1 is not known"):
        curve_of(loaded(tmp_path, "--core", "tcp://head:1").settings)
    with pytest.raises(NotFound, match=r"there is no key file .*node\.key"):
        curve_of(loaded(tmp_path, "--core", "tcp://head:1", "--core-key", CORE_KEY).settings)


def test_the_keys_are_those_of_the_state_or_those_that_were_named(tmp_path: Path) -> None:
    one, two = KeyPair.new(), KeyPair.new()
    (tmp_path / "keys").mkdir()
    write_key_file(tmp_path / "keys" / "node.key", one)
    write_key_file(tmp_path / "two.key", two)
    words = ["--core", "tcp://head:1", "--core-key", CORE_KEY]

    found = curve_of(loaded(tmp_path, *words).settings)
    named = curve_of(loaded(tmp_path, *words, "--key", str(tmp_path / "two.key")).settings)

    assert found is not None
    assert named is not None
    assert (found.public, found.secret, found.server) == (one.public, one.secret, CORE_KEY)
    assert named.public == two.public
    assert curve_of(loaded(tmp_path, "--core", "tcp://127.0.0.1:1", "--insecure").settings) is None
    with pytest.raises(UsageError, match="for a core on this machine"):
        curve_of(loaded(tmp_path, "--core", "tcp://head:1", "--insecure").settings)


def test_values_are_what_they_must_be(tmp_path: Path) -> None:
    words = ["--attribute", "detector=ITS", "--attribute", "rack=a=b", "--ports", "31000-31009", "--ports", "32000"]
    words += ["--max-orphan-time", "1h", "--allow-user", "daemon", "--cpus", "0", "--core", "tcp://[::1]:47102"]

    settings = loaded(tmp_path, *words).settings

    assert settings.attribute == (("detector", "ITS"), ("rack", "a=b"))
    assert settings.ports == ((31000, 31009), (32000, 32000))
    assert (settings.max_orphan_time, settings.allow_user, settings.cpus) == (3600.0, ("daemon",), 0.0)
    for option, value in [
        ("--ports", "9-8"),
        ("--ports", "x"),
        ("--ports", "0"),
        ("--core", "tcp://head:0"),
        ("--core", "tcp://*:47102"),
        ("--core", "http://head:1"),
        ("--node", "a b"),
        ("--core-key", "x"),
        ("--cpus", "-1"),
        ("--attribute", "x"),
    ]:
        with pytest.raises(InvalidInput):
            loaded(tmp_path, option, value)


def test_the_state_is_where_systemd_says_or_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder({"STATE_DIRECTORY": "/var/lib/x:/var/lib/y"})[0] == Path("/var/lib/x")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state_folder({"XDG_STATE_HOME": "/s"})[0] == Path("/var/lib/ecs/executor")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert state_folder({"XDG_STATE_HOME": "/s"})[0] == Path("/s/ecs/executor")
    assert state_folder({"XDG_STATE_HOME": "relative"})[0] == Path.home() / ".local/state/ecs/executor"


def test_ports_that_were_found_once_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"

    first = kept_ports(file)

    assert kept_ports(file) == first
    assert sum(high - low + 1 for low, high in first) == 200


@pytest.mark.parametrize("text", ["{", "[[1]]", "[1, 2]", '[["a", "b"]]', "null"])
def test_ports_that_cannot_be_read_are_chosen_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(text)

    found = kept_ports(file)

    assert json.loads(file.read_text()) == [list(one) for one in found]


def test_ports_that_cannot_be_kept_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EcsError, match=r"ports\.json cannot be written"):
        kept_ports(tmp_path / "gone" / "ports.json")
