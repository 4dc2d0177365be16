"""What a core that just learned what a node runs makes of it. Pure.

What is known and runs is adopted. What runs and is not known is an orphan: shown, never silently killed. What was
condemned before and still runs is ended now. What is known and does not run is lost, or was never launched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from libecs.wire.node import Held


@attrs.frozen(kw_only=True)
class Known:
    """A task that the core's records place on the node."""

    task: str
    launched: bool
    """It was seen alive, or its launch was finished: that it is not there is news."""


@attrs.frozen(kw_only=True)
class Findings:
    """What to do about each task of a node."""

    adopted: tuple[Held, ...] = ()
    orphans: tuple[Held, ...] = ()
    condemned: tuple[Held, ...] = ()
    lost: tuple[str, ...] = ()
    unlaunched: tuple[str, ...] = ()


def reconcile(known: Iterable[Known], condemned: Mapping[str, str], announced: Iterable[Held]) -> Findings:
    """Compare records with the announcement of one node.

    known: tasks placed on this node. condemned: task id to node, of tasks that an ended environment could not end.
    """
    by_id = {one.task: one for one in known}
    adopted: list[Held] = []
    orphans: list[Held] = []
    doomed: list[Held] = []
    seen = set()
    for held in announced:
        name = held.status.task
        seen.add(name)
        if name in by_id:
            adopted.append(held)
        elif name in condemned:
            doomed.append(held)
        else:
            orphans.append(held)
    missing = [one for one in by_id.values() if one.task not in seen]
    return Findings(
        adopted=tuple(adopted),
        orphans=tuple(orphans),
        condemned=tuple(doomed),
        lost=tuple(one.task for one in missing if one.launched),
        unlaunched=tuple(one.task for one in missing if not one.launched),
    )
