"""Write the tables of docs/settings.md: they are made of the classes that hold the settings of the daemons."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the settings of this source tree, not of an installed one

from ecsd.core.options import CoreOptions  # noqa: E402
from ecsd.executor.options import ExecutorOptions  # noqa: E402
from ecsd.settings import table  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
TABLES = {"ecsd": CoreOptions, "ecs-executord": ExecutorOptions}


def page(text: str) -> str:
    """Return the page with fresh tables."""
    for name, cls in TABLES.items():
        begin, end = f"<!-- settings of {name} -->", "<!-- end -->"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, begin=begin, cls=cls, end=end: f"{begin}\n{table(cls)}\n{end}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


def main() -> None:
    """Write the page; with `--check`, only tell whether it is fresh."""
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if old == new else f"{PAGE} is stale: python tools/generate_settings.py")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
