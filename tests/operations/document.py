"""The commands of a page of documentation, and what it says that one sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PROMPT = re.compile(r"([a-z0-9]+)[$#] (.+)")
ANYTHING = "…"


@attrs.define
class Command:
    """One line with a prompt, and the lines below it."""

    host: str
    text: str
    seen: list[str] = attrs.field(factory=list)

    def missing(self, output: str) -> str:
        """Return the first line that the page shows and `output` has not, in this order; "" if all are there."""
        lines = iter(output.splitlines())
        for wanted in self.seen:
            if wanted == ANYTHING:
                continue
            words = [re.escape(part.strip()) for part in wanted.split(ANYTHING)]
            pattern = re.compile(r"\s*".join([".*".join(words)]))
            if not any(pattern.search(line) for line in lines):
                return wanted
        return ""


def commands(page: Path, heading: str) -> Iterator[Command]:
    """Yield the commands of one section of a page."""
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith(f"{heading}\n")]
    found: list[Command] = []
    for block in _BLOCK.findall(section):
        for line in block.splitlines():
            prompt = _PROMPT.fullmatch(line)
            if prompt:
                found.append(Command(prompt[1], prompt[2]))
            else:
                found[-1].seen.append(line)
    yield from found
