"""The shim for tests: the installed one; in a bare source tree it is compiled, once for all runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from libecs.errors import NotFound
from libecs.io.process import find_shim

ROOT = Path(__file__).resolve().parents[2]


def shim_program() -> Path:
    """Return the path of a shim that runs."""
    try:
        return find_shim()
    except NotFound:
        return compiled_shim()


def compiled_shim() -> Path:
    """Return the shim of this source tree, compiled if nobody has."""
    folder = ROOT / "libecs" / "shim"
    text = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    program = ROOT / "build" / "tests" / f"ecs-shim-{hashlib.sha256(text).hexdigest()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        sources = sorted(folder.glob("*.c"))
        subprocess.run(["cc", "-O2", "-std=c11", "-D_GNU_SOURCE", "-o", unfinished, *sources], check=True)
        unfinished.rename(program)
    return program
