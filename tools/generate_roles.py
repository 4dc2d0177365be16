"""Write the table of docs/security.md, who may ask for what, out of `libecs.access.VERBS`, which the core obeys."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the table of this source tree, not of an installed one

from libecs.access import VERBS, Role  # noqa: E402

PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- verbs -->", "<!-- end -->"
COLUMNS = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.SERVICE)


def table() -> str:
    """Return the table."""
    lines = [
        f"| asks for | {' | '.join(role.name.lower() for role in COLUMNS)} | locks and scope |",
        f"|---|{':-:|' * (len(COLUMNS) + 1)}",
    ]
    for name, verb in VERBS.items():
        may = ["yes" if role in verb.roles else "" for role in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(may)} | {'count' if verb.locks else ''} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with a fresh table."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main() -> None:
    """Write the page; with `--check`, only tell whether it is fresh."""
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if old == new else f"{PAGE} is stale: python tools/generate_roles.py")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
