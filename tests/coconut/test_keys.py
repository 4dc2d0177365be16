"""Verbs about keys and the audit log, as far as they need no core."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ecsd.coconut.key import _core_words
from libecs.access import Principal, Role
from libecs.engine.effects import Audit
from libecs.io.audit import AuditLog, chain_files
from libecs.io.keys import KeyPair, read_key_file, write_key_file
from libecs.io.token import Invitation
from tests.coconut.conftest import Coconut

CORE = KeyPair.new()


def token(role: Role, endpoint: str = "tcp://127.0.0.1:1") -> str:
    return Invitation(
        name="alice", role=role, core_key=CORE.public, endpoint=endpoint, lobby=endpoint, secret=b"s" * 16, expires_ms=1
    ).text()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "core" / "audit")
    for name in ("alice", "bob", "carol"):
        principal = Principal(name=name, role=Role.OPERATOR, key=name, via="client")
        log.write([Audit(verb="Create", principal=principal, requester=name, object="2abc", text="\x1b[2J")], 1)
    log.close()
    return tmp_path / "core"


def test_a_token_that_is_none_is_invalid(coconut: Coconut) -> None:
    ran = coconut("login", "hello")

    assert ran.status == 9
    assert "no token" in ran.err


def test_the_token_of_a_node_is_for_its_executor(coconut: Coconut) -> None:
    ran = coconut("login", token(Role.NODE))

    assert ran.status == 2
    assert "ecs-executord join TOKEN" in ran.err


@pytest.mark.parametrize("name", ["../evil", "a/b", ""])
def test_the_name_of_a_context_leads_nowhere_else(coconut: Coconut, home: Path, name: str) -> None:
    ran = coconut("login", token(Role.VIEWER), "--context", name)

    assert ran.status in (6, 9)
    assert not list(home.glob("config/evil*"))


def test_a_token_may_come_by_the_input(coconut: Coconut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(token(Role.VIEWER) + "\n"))

    assert coconut("login", "-", "--context", "p2").status == 6  # nobody answers there


def test_a_lobby_that_is_closed_is_told(coconut: Coconut, home: Path) -> None:
    ran = coconut("login", token(Role.VIEWER), "--context", "p2")

    assert ran.status == 6
    assert "ask for another one" in ran.err
    assert not (home / "config" / "ecs" / "contexts.toml").exists()


def test_there_is_no_key_to_rotate_at_a_core_without_keys(coconut: Coconut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_CORE", "tcp://127.0.0.1:1")

    ran = coconut("key", "rotate")

    assert ran.status == 4
    assert "--insecure" in ran.err


def test_a_key_that_is_not_there_is_not_rotated(coconut: Coconut, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_CORE", "tcp://127.0.0.1:1")
    monkeypatch.setenv("ECS_CORE_KEY", CORE.public)
    monkeypatch.setenv("ECS_KEY_FILE", str(home / "nothing.key"))

    ran = coconut("key", "rotate")

    assert ran.status == 3
    assert "coconut login" in ran.err


def test_a_rotation_that_reaches_nobody_keeps_the_key(
    coconut: Coconut, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = KeyPair.new()
    write_key_file(home / "my.key", pair)
    monkeypatch.setenv("ECS_CORE", "tcp://127.0.0.1:1")
    monkeypatch.setenv("ECS_CORE_KEY", CORE.public)
    monkeypatch.setenv("ECS_KEY_FILE", str(home / "my.key"))

    assert coconut("key", "rotate").status == 6

    assert read_key_file(home / "my.key") == pair


def test_a_chain_in_order_is_told_with_its_last_hash(coconut: Coconut, state: Path) -> None:
    ran = coconut("audit", "verify", "--state", str(state), "--json")

    assert ran.status == 0
    assert (ran.document["lines"], ran.document["last"], len(ran.document["hash"])) == (3, 3, 64)
    assert "3 lines in order" in coconut("audit", "verify", "--state", str(state)).out


def test_a_line_that_was_edited_is_named_and_is_an_error(coconut: Coconut, state: Path) -> None:
    (path,) = chain_files(state / "audit")
    path.write_bytes(path.read_bytes().replace(b"bob", b"eve"))

    ran = coconut("audit", "verify", "--state", str(state))

    assert ran.status == 9
    assert f"{path.name}:2: line 2 was edited" in ran.err
    assert "E_AUDIT" in ran.err


def test_files_are_verified_by_themselves(coconut: Coconut, state: Path) -> None:
    (path,) = chain_files(state / "audit")
    (state / "part.jsonl").write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))

    assert coconut("audit", "verify", str(path)).status == 0
    assert coconut("audit", "verify", str(state / "part.jsonl")).status == 0
    assert coconut("audit", "verify", str(state / "nothing")).status == 9


def test_no_audit_log_is_not_found(coconut: Coconut, home: Path) -> None:
    assert coconut("audit", "verify", "--state", str(home)).status == 3


def test_the_tail_shows_who_did_what_without_control_characters(coconut: Coconut, state: Path) -> None:
    ran = coconut("audit", "tail", "-n", "2", "--state", str(state))

    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["n", "2", "3"]
    assert "carol" in ran.out
    assert "\x1b" not in ran.out
    wide = coconut("audit", "tail", "--state", str(state), "-o", "wide")
    assert "  via  " in wide.out
    document = coconut("audit", "tail", "--state", str(state), "--json").document
    assert document["schema"] == "ecs/audit-tail/1"
    assert [line["who"] for line in document["lines"]] == ["alice", "bob", "carol"]


def test_verify_says_where_a_chain_begins_whose_old_files_were_removed(coconut: Coconut, tmp_path: Path) -> None:
    day_ms = 86_400_000
    log = AuditLog(tmp_path / "core" / "audit", keep_days=100)
    for day in range(1, 400, 10):
        principal = Principal(name="alice", role=Role.OPERATOR, key="alice", via="client")
        log.write([Audit(verb="Create", principal=principal, requester="alice", object="2abc")], day * day_ms)
    log.close()

    ran = coconut("audit", "verify", "--state", str(tmp_path / "core"))
    document = coconut("audit", "verify", "--state", str(tmp_path / "core"), "--json").document

    assert ran.status == 0
    assert document["first"] > 1
    assert document["last"] == document["first"] + document["lines"] - 1
    assert f"they begin with line {document['first']}: older files were removed" in ran.out


@pytest.mark.parametrize("words", [("--days", "3"), ("--cancel",)])
def test_only_the_cores_key_is_told_before(coconut: Coconut, words: tuple[str, ...]) -> None:
    ran = coconut("key", "rotate", *words)

    assert ran.status == 2
    assert "add --core" in ran.err


def test_what_is_said_of_the_cores_key() -> None:
    answer = {"key": "k" * 40, "next_key": "n" * 40, "from_ms": 1, "told": ["alice", "n1"], "untold": ["bob"]}

    key, when, told, untold = _core_words(answer)

    assert ("n" * 40 in key, "k" * 40 in key) == (True, True)
    assert "started anew after 1970" in when
    assert told == "told of it: alice, n1"
    assert untold.startswith("not yet told: bob; ")
    assert list(_core_words({**answer, "told": [], "untold": []}))[2:] == ["told of it: nobody yet"]
    assert list(_core_words({**answer, "next_key": ""})) == ["the core keeps its key kkkkkkkk; it has no next one"]
