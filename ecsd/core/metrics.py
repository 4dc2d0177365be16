"""What a core tells Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ecsd.notify import Watchdog
from ecsd.prometheus import Family, process_families
from libecs.io.corehost import CoreHost
from libecs.io.hub import Hub


def families(host: CoreHost, hub: Hub, watchdog: Watchdog, started_s: float) -> Iterable[Family]:
    """Return all metrics of a core as they are now. `started_s`: unix time of its start."""
    engine, loop, router = host.engine, host.loop, hub.router
    states = Counter(env.state.name for env in engine.environments.values())
    reaches = Counter(node.reach.name for node in engine.sessions.nodes.values())
    tasks = sum(len(env.cast.tasks) for env in engine.environments.values())
    return [
        Family.by("ecs_environments", "gauge", "Environments by state.", "state", states),
        Family.by("ecs_nodes", "gauge", "Nodes that have come to this life of the core, by reach.", "reach", reaches),
        Family.one("ecs_tasks", "gauge", "Tasks of all environments.", tasks),
        Family.one("ecs_epoch", "gauge", "Epoch of this life of the core.", engine.epoch),
        Family.one("ecs_events_total", "counter", "Number of the last event.", engine.sequence),
        Family.one("ecs_ticks_total", "counter", "Ticks of the engine's loop.", loop.ticks),
        Family.one("ecs_commits_total", "counter", "Commits of records and events.", loop.commits),
        Family.one("ecs_commit_seconds_total", "counter", "Time that commits took.", loop.total_commit_s),
        Family.one("ecs_commit_last_seconds", "gauge", "Time that the last commit took.", loop.last_commit_s),
        Family.one("ecs_disk_has_room", "gauge", "0: only what ends something is accepted.", host.has_room),
        Family.one("ecs_quarantine", "gauge", "Records that can't be read.", len(engine.quarantine)),
        Family.by("ecs_peers", "gauge", "Peers that were heard in the last 10 s.", "channel", hub.peers),
        Family.one("ecs_connections", "gauge", "Connections to the core's port.", router.connections),
        Family.one("ecs_connections_refused_total", "counter", "Too many of one address.", router.refused),
        Family.one("ecs_handshakes_failed_total", "counter", "Unknown keys, no keys.", router.failed_handshakes),
        Family.by(
            "ecs_messages_total", "counter", "Messages through the core's port.", "direction",
            {"in": router.received, "out": router.sent},
        ),
        Family.by("ecs_messages_dropped_total", "counter", "Messages that were dropped.", "reason",
                  {**hub.dropped, "peer gone or full": router.dropped}),
        Family.one("ecs_watchdog_age_seconds", "gauge", "Since the engine's loop was seen to live.", watchdog.age_s),
        *process_families(started_s),
    ]  # fmt: skip
