"""What histories were about: counts of faults and events, to show that a campaign tried what it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libecs.sim.world import World

TITLES: Mapping[str, str] = {
    "steps": "things that happened",
    "simulated_s": "simulated seconds",
    "operations": "operations of clients",
    "environments": "environments",
    "runs": "runs",
    "timer stops": "runs stopped by their timer",
    "stream stops": "runs stopped at the end of their streams",
    "reconfigured": "reconfigurations done",
    "recoveries": "recoveries",
    "modified": "modifications done",
    "reused": "idle tasks taken into use by other environments",
    "errors": "environments gone to ERROR",
    "commands": "commands with an effect in a task",
    "processes": "processes of tasks started",
    "deaths": "processes that died unasked",
    "signals": "signals sent",
    "calls": "calls of integrations",
    "crashes": "crashes of core and executors",
    "commit failures": "of these because a commit failed",
    "two cores": "an old core that woke up beside its successor",
    "old words": "messages of old cores that reached nodes",
    "disks": "disks lost",
    "reboots": "nodes rebooted",
    "pauses": "daemons stopped and continued",
    "clock jumps": "clock jumps",
    "partitions": "partitions and cut links",
    "lost": "messages lost",
    "duplicated": "messages repeated",
    "reordered": "messages that overtook others",
    "freezes": "tasks frozen",
    "stuck": "tasks whose loop stood still",
    "stolen": "tasks stolen",
    "attached": "starts of attached tasks",
    "orphans": "tasks ended by their shims, without an owner",
    "metrics": "metrics of runs told",
    "denied": "requests denied, and forged messages dropped",
    "locks": "locks taken and given back",
    "autos": "environments that took one run and ended",
}
"""Names of counts, in the order in which they are shown."""


def count(world: World) -> Counter[str]:
    """Return what one history was about."""
    checker, nemesis, traffic = world.checker, world.nemesis, world.network.traffic
    lines = world.history.tally()
    deaths = [detail for (_, what), details in lines.items() if what == "dies" for detail in details]
    states = [state.name for env in checker.known.environments.values() for _, state in env.states]
    reasons = [record.end_reason for record in checker.known.run_records.values()]
    return Counter(
        {
            "steps": world.steps,
            "simulated_s": int(world.agenda.mono_s),
            "operations": len(world.shared.operations),
            "environments": len(checker.known.environments) + len(checker.known.orphans),
            "runs": len(checker.known.runs),
            "timer stops": reasons.count("TIMER"),
            "stream stops": reasons.count("END_OF_STREAM"),
            "reconfigured": checker.accounts.reconfigured,
            "recoveries": sum(env.recoveries for env in checker.known.environments.values()),
            "modified": checker.modifications.done,
            "reused": checker.modifications.reused,
            "errors": states.count("ERROR"),
            "commands": len(checker.deeds.effects.counts),
            "processes": sum(len(node.processes) for node in world.nodes),
            "deaths": len(checker.known.deaths),
            "signals": checker.deeds.signals,
            "calls": len(world.services.calls),
            "crashes": len(deaths),
            "commit failures": sum(1 for why in deaths if "commit fails" in why),
            "two cores": len(world.old_cores),
            "old words": sum(old.said for old in world.old_cores),
            "disks": world.lost_disks,
            "reboots": sum(1 for (_, what), details in lines.items() if what == "reboot" for _ in details),
            "pauses": nemesis.counts.get("stop", 0),
            "clock jumps": nemesis.counts.get("clock", 0),
            "partitions": sum(n for kind, n in nemesis.counts.items() if kind.startswith("network ")),
            "lost": traffic.lost,
            "duplicated": traffic.duplicated,
            "reordered": traffic.reordered,
            "freezes": nemesis.counts.get("task freeze", 0),
            "stuck": checker.deeds.stuck,
            "stolen": nemesis.thief.stolen,
            "attached": sum(place.restarts for place in world.hall.places.values()),
            "orphans": sum(node.orphaned for node in world.nodes),
            "metrics": len(checker.accounts.book.sums),
            **checker.house.counts,
        }
    )


def table(counts: Mapping[str, int]) -> str:
    """Return counts as a table for people."""
    return "\n".join(f"  {counts.get(name, 0):>14,}  {title}" for name, title in TITLES.items())
