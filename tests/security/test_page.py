"""docs/security.md says of roles what the core obeys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_the_page_is_fresh() -> None:
    """`python tools/generate_roles.py` writes it."""
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_roles.py", "--check"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
