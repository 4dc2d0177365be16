"""A real `ecsd` for tests of its own behaviour; clusters with nodes are in `fieldkit`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldkit.cluster import Daemon

import libecs

ANY = "tcp://127.0.0.1:0"
IN_TIME_S = 40.0
"""Nothing here takes that long; a busy machine may."""


def clean_environment(home: Path) -> dict[str, str]:
    """Return the environment of a user who has nothing yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ECS_", "XDG_"))}
    return kept | {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config")}


def command(state: Path, options: Sequence[str]) -> list[str]:
    words = [sys.executable, "-m", "ecsd.core", "--state", str(state)]
    words += [] if "--listen" in options else ["--listen", ANY]
    return [*words, "--lobby", ANY, *options]


def make_core(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Daemon:
    """Return a core that is not started; its state is in `folder`."""
    state = folder / "core"
    variables = clean_environment(folder) | dict(environment or {})
    return Daemon("core", command(state, options), variables, state, folder)


def run_core(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a core that is to end by itself."""
    return subprocess.run(
        command(folder / "core", options),
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def logged(core: Daemon, *words: str) -> str:
    """Return the first line of a core's log that has all these words, once it is there."""
    async with asyncio.timeout(IN_TIME_S):
        while not (found := [line for line in core.log.read_text().splitlines() if all(one in line for one in words)]):
            await asyncio.sleep(0.02)  # nothing tells of lines in somebody else's file
    return found[0]


def client_file(core: Daemon) -> dict[str, str]:
    """Return what clients on this machine find."""
    return tomllib.loads((core.state / "client.toml").read_text(encoding="utf-8"))


def connect(core: Daemon) -> Any:
    """Return a connection as the owner, that is not entered yet."""
    found = client_file(core)
    if not found["core_key"]:
        return libecs.connect(found["endpoint"], insecure=True)
    return libecs.connect(found["endpoint"], key=Path(found["key_file"]), core_key=found["core_key"])
