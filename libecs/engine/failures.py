"""Many failures in few words: those with the same reason are one, whatever node they were on.

What hundred tasks have to say at once is told to people in one message of at most two kilobytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

FEW = 8
"""So many failures are told one by one."""
MAX_BYTES = 1300
"""Of all entries together; the cause stands beside them."""
MAX_REASON = 300
"""Characters of one reason, where there are many."""
MAX_CAUSE = 600
"""Characters of a cause."""
NAMED = 3
"""Nodes, and roles, that a group names."""

_PLACE = re.compile(r"(?:hook )?on node (\S+) (.*)", re.DOTALL)
_LOG = "; last log: "


@attrs.define
class _Group:
    paths: list[str] = attrs.field(factory=list)
    nodes: dict[str, None] = attrs.field(factory=dict)
    log: str = ""

    def label(self) -> str:
        count = len(self.paths)
        if count == 1:
            return self.paths[0]
        return f"{count} tasks{self._where()} ({_some(self.paths)})"

    def _where(self) -> str:
        if not self.nodes:
            return ""
        if len(self.nodes) == 1:
            return f" on {next(iter(self.nodes))}"
        return f" on {len(self.nodes)} nodes ({_some(self.nodes)})"


def grouped(failures: Mapping[str, str]) -> dict[str, str]:
    """Return failures, role path to reason, as they are if they are few and short; else with equal reasons as one, the
    most frequent first, in at most `MAX_BYTES`.
    """
    if len(failures) <= FEW and _bytes(failures) <= MAX_BYTES:
        return dict(failures)
    groups: dict[str, _Group] = {}
    for path, text in failures.items():
        node, reason, log = _parts(text)
        group = groups.setdefault(reason, _Group())
        group.paths.append(path)
        group.log = group.log or log
        if node:
            group.nodes[node] = None
    told: dict[str, str] = {}
    left = MAX_BYTES - 100
    rest = sorted(groups.items(), key=lambda item: -len(item[1].paths))
    for number, (reason, group) in enumerate(rest):
        alone = len(group.paths) == 1 and group.nodes
        text = f"on node {next(iter(group.nodes))} {reason}" if alone else reason
        text = _cut(f"{text}{_LOG}{group.log}" if group.log else text)
        label = _cut(group.label())
        left -= len((label + text).encode("utf-8", "replace")) + 4
        if left < 0 and told:
            others = [one for _, one in rest[number:]]
            count = sum(len(one.paths) for one in others)
            told[f"{count} more task{'s' * (count != 1)}"] = f"for {len(others)} other reason{'s' * (len(others) != 1)}"
            break
        told[label] = text
    return told


def described(failures: Mapping[str, str]) -> str:
    """Return failures as one cause: the most frequent, and how many others there are."""
    if len(failures) <= FEW:
        path, reason = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return f"{path}: {reason[: MAX_CAUSE * 2]}{more}"
    label, reason = next(iter(grouped(failures).items()))
    found = re.match(r"(\d+) tasks", label)
    others = len(failures) - (int(found.group(1)) if found else 1)
    more = f" (and {others} other{'s' * (others != 1)})" if others > 0 else ""
    return f"{label}: {reason}"[:MAX_CAUSE] + more


def _parts(text: str) -> tuple[str, str, str]:
    """Return node, reason and last log line of a failure."""
    found = _PLACE.match(text)
    node, reason = (found.group(1), found.group(2)) if found else ("", text)
    reason, _, log = reason.partition(_LOG)
    return node, reason, log


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


def _bytes(failures: Mapping[str, str]) -> int:
    return sum(len((path + text).encode("utf-8", "replace")) + 4 for path, text in failures.items())
