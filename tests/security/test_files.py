"""What is left on disk and shown by the system: private files, and no secret anywhere but in its own file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster, told_on_failure

from libecs.access import Role
from libecs.io.keys import read_key_file
from libecs.io.token import Invitation

pytestmark = pytest.mark.timeout(300)

SECRET_FILES = re.compile(r"(core|owner|node|[a-z0-9]+)\.key(\.new)?$")


class Told:
    """A cluster that was used for a while, and all secrets that there were."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.secrets: dict[str, bytes] = {}
        self.words: list[str] = []


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    old = os.umask(0)  # nothing may depend on a kind umask
    try:
        with Cluster(["n1"]) as cluster, told_on_failure(cluster):
            told = Told(cluster)
            _use(told)
            yield told
    finally:
        os.umask(old)


def _use(told: Told) -> None:
    cluster = told.cluster
    cluster.add_key("alice", Role.OPERATOR)

    def coconut(*words: str, who: str = "owner", status: tuple[int, ...] = (0,)) -> str:
        ran = cluster.coconut(*words, who=who)
        told.words += [ran.stdout, ran.stderr]
        assert ran.returncode in status, ran.stderr
        return ran.stdout

    line = coconut("key", "invite", "carol", "--role", "operator", "--detectors", "its", "--auto").strip()
    token = line.split()[-1]
    told.words.pop(-2)  # the token is what it prints
    told.secrets["token"] = token.encode()
    told.secrets["secret of the token"] = Invitation.read(token).secret
    coconut("login", token, "--context", "p2")
    coconut("key", "list", "--context", "p2", status=(5,))
    coconut("key", "rotate", "--context", "p2")
    coconut("login", token, "--context", "p3", status=(5, 6))  # the token was used, or the lobby is closed

    node_line = coconut("node", "invite", "n9", "--auto").strip()
    told.words.pop(-2)
    node_token = node_line.split()[-1]
    told.secrets["node token"] = node_token.encode()
    told.secrets["secret of the node token"] = Invitation.read(node_token).secret
    state = cluster.base / "n9"
    told.words.append(_join(cluster, node_token, state))

    async def run() -> None:
        async with cluster.connect("alice") as ecs:
            env = await ecs.environment("single", {"value": "1", "db_password": "hunter2-of-the-detector"})
            run = env.run()
            async with run:
                pass
            await env.destroy()

    asyncio.run(run())
    cluster.core.restart()
    told.secrets["value of a secret variable"] = b"hunter2-of-the-detector"
    for path in cluster.base.rglob("*.key"):
        told.secrets[str(path)] = read_key_file(path).secret.encode()


def _join(cluster: Cluster, token: str, state: Path) -> str:
    import subprocess
    import sys

    ran = subprocess.run(
        [sys.executable, "-m", "ecsd.executor", "join", token, "--state", str(state)],
        env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def test_every_file_is_private_or_lies_in_a_private_folder(told: Told) -> None:
    cluster = told.cluster
    bad = []
    for top in (cluster.state, cluster.nodes["n1"].state, cluster.base / "n9", cluster.home / "config" / "ecs"):
        assert top.exists(), top
        for path in (top, *top.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # daemons work on meanwhile
                if stat.S_ISLNK(path.lstat().st_mode):
                    continue
                inside = [top, *(one for one in path.parents if top in one.parents)]
                private = any(one.stat().st_mode & 0o077 == 0 for one in {path, *inside})
                if not private:
                    bad.append(f"{path}: {path.stat().st_mode & 0o7777:o}")
    assert bad == []


def test_keys_audit_and_principals_are_private_by_themselves(told: Told) -> None:
    cluster = told.cluster
    files = [*cluster.state.joinpath("keys").rglob("*"), *cluster.state.joinpath("audit").iterdir()]
    files += [
        cluster.state / "client.toml",
        cluster.base / "n9" / "core.toml",
        cluster.base / "n9" / "keys" / "node.key",
    ]
    files += list((cluster.home / "config" / "ecs").rglob("*.key"))
    assert len(files) > 10

    modes = {path: path.stat().st_mode & 0o777 for path in files}

    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_no_file_holds_a_secret_but_the_file_of_the_key(told: Told) -> None:
    found = []
    for path in told.cluster.base.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # daemons work on meanwhile
            continue
        for name, secret in told.secrets.items():
            if secret in data and not (SECRET_FILES.fullmatch(path.name) and str(path) == name):
                found.append(f"{name} in {path}")
    # What a user says of an environment is in its records: the state folder is as secret as that. And its task gets it.
    state, task = told.cluster.state / "state.sqlite", told.cluster.nodes["n1"].state
    allowed = [f"value of a secret variable in {place}" for place in (state, task)]
    assert [one for one in found if not one.startswith(tuple(allowed))] == []
    assert list((told.cluster.base / "runs").rglob("run.json"))
    audit = b"".join(path.read_bytes() for path in told.cluster.state.joinpath("audit").iterdir())
    assert b"hunter2" not in audit
    assert b"db_password" in audit


def test_no_record_or_event_holds_a_secret(told: Told) -> None:
    """The pages of a database that are compressed or split would hide it from a search of the file."""
    database = sqlite3.connect(f"file:{told.cluster.state / 'state.sqlite'}?mode=ro", uri=True)
    try:
        rows = [
            repr(row).encode() for table in ("records", "events") for row in database.execute(f"SELECT * FROM {table}")
        ]
    finally:
        database.close()
    keys = {name: secret for name, secret in told.secrets.items() if "variable" not in name}
    assert rows
    assert [name for name, secret in keys.items() for row in rows if secret in row] == []


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_no_log_or_message_tells_a_secret(told: Told) -> None:
    text = "\n".join([*told.words, *(path.read_text(errors="replace") for path in told.cluster.base.glob("log/*.log"))])

    assert [name for name, secret in told.secrets.items() if secret.decode("latin-1") in text] == []


def test_no_process_shows_a_secret(told: Told) -> None:
    shown = []
    for pid in told.cluster.processes():
        for what in ("environ", "cmdline"):
            try:
                data = Path(f"/proc/{pid}/{what}").read_bytes()
            except OSError:  # it has ended
                continue
            shown += [f"{name} in {what} of {pid}" for name, secret in told.secrets.items() if secret in data]
    assert shown == []
