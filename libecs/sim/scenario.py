"""What one history is about: its size, its faults and their rates, all drawn from the seed."""

from __future__ import annotations

from random import Random

import attrs

KINDS = (
    "calm",
    "messages",
    "crashes",
    "crashes",
    "tasks",
    "network",
    "non-critical",
    "everything",
    "everything",
    "everything",
)
"""Kinds of histories; each seed is of the kind at its place, round and round."""
CODEC_EVERY = 4
"""Of so many rounds of kinds, one sends bytes; in the others links hand over the (frozen) messages themselves."""


@attrs.frozen(kw_only=True)
class Scenario:
    """The parameters of one history. Probabilities are per message or per task; times in seconds."""

    seed: int
    kind: str
    nodes: int
    clients: int
    operations: int
    """Per client."""
    workflows: int
    active_s: float = 11.0
    """Time in which clients work and faults happen; then all is healed."""
    settle_s: float = 400.0
    """Time within which the system must be at rest after that."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    late: float = 0.0
    task_link: float = 0.0
    """Duplicates, lateness and reordering on the links to tasks. They lose nothing but by breaking."""
    process_faults: int = 0
    """Crashes, stops and reboots of core and executors."""
    network_faults: int = 0
    task_faults: int = 0
    """Deaths, freezes and shim kills from outside."""
    trouble: float = 0.0
    """Probability that a task does something wrong by itself, that a call or a hook is one that fails."""
    service_trouble: float = 0.0
    telemetry_loss: float = 0.0
    orphan_s: float | None = None
    """How long shims keep their tasks when nobody owns them; None = for ever."""
    modifies: bool = False
    """Whether clients take roles out and put them back, and keep tasks."""
    codec: bool = True
    """Encode and decode every message on its way. A history is the same without, only faster: a test compares."""

    @property
    def disturbed(self) -> bool:
        """Whether processes and links are disturbed, so that a transition may fail for no task's fault."""
        return bool(
            self.loss or self.late or self.reorder or self.task_link or self.process_faults or self.network_faults
        )

    @property
    def only_non_critical(self) -> bool:
        """Whether trouble comes to non-critical tasks, hooks and calls alone."""
        return self.kind == "non-critical"


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    random = Random(f"{seed}/scenario")
    kind = KINDS[seed % len(KINDS)]
    everything = kind == "everything"
    messages = kind == "messages" or (everything and random.random() < 0.7)
    crashes = kind == "crashes" or (everything and random.random() < 0.8)
    network = kind == "network" or (everything and random.random() < 0.7)
    tasks = kind in ("tasks", "non-critical") or (everything and random.random() < 0.8)
    services = everything and random.random() < 0.5
    modifies = Random(f"{seed}/modifies").random() < 0.5
    rate = random.choice((0.01, 0.05, 0.2))
    return Scenario(
        seed=seed,
        kind=kind,
        nodes=random.choice((1, 1, 2, 2, 3)),
        clients=random.choice((1, 1, 2)),
        operations=random.randint(4, 9) + 5 * modifies,
        workflows=random.choice((1, 2)),
        loss=random.choice((0.0, rate, rate)) if messages else 0.0,
        duplicate=random.choice((0.0, rate, rate)) if messages else 0.0,
        reorder=random.choice((0.0, rate)) if messages else 0.0,
        late=random.choice((0.0, rate, 0.3)) if messages else 0.0,
        task_link=random.choice((0.0, rate)) if messages else 0.0,
        process_faults=random.randint(1, 5) if crashes else 0,
        network_faults=random.randint(1, 3) if network else 0,
        task_faults=random.randint(0, 3) if tasks else 0,
        trouble=random.choice((0.1, 0.3)) if tasks else 0.0,
        service_trouble=random.choice((0.05, 0.3)) if services else 0.0,
        telemetry_loss=random.choice((0.0, 0.3)) if messages else 0.0,
        orphan_s=random.choice((None, None, 1.0, 10.0)) if crashes else None,
        modifies=modifies,
        codec=seed // len(KINDS) % CODEC_EVERY == 0,
    )
