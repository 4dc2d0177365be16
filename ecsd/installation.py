"""What this installation tells every workflow, as the weakest of its variables."""

from __future__ import annotations

import sys
from pathlib import Path

import ecsd


def examples() -> Path:
    """Return the folder of the examples: `demo`, `tasks`, and `bin` with the tasks in C."""
    return Path(ecsd.__file__).resolve().parent / "examples"


def defaults() -> dict[str, str]:
    """Return the variables: where the examples are, and the interpreter that can import `occ`."""
    return {"examples": str(examples()), "python": sys.executable}
