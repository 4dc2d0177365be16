"""Hooks: which calls and tasks run at which moment, in the order of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from libecs.errors import InvalidInput
from libecs.workflow.role import Moment, Workflow

_WEIGHT = re.compile(r"[+-]?[0-9]{1,9}")


def parse_moment(text: str) -> Moment:
    """Read NAME, NAME+n or NAME-n, split at the last sign.

    Raises:
        InvalidInput: no name, or a weight that is no integer (AliECS takes 0 for it, so that a typo runs at the wrong
            time).
    """
    stripped = text.strip()
    at = max(stripped.rfind("+"), stripped.rfind("-"))
    name, weight = (stripped[:at], stripped[at:]) if at >= 0 else (stripped, "0")
    if not name or not _WEIGHT.fullmatch(weight):
        raise InvalidInput(
            f"{text!r} is no moment", hint="write a name and maybe a weight: before_CONFIGURE, after_STOP_ACTIVITY-50"
        )
    return Moment(name=name, weight=int(weight))


@attrs.frozen(kw_only=True)
class Step:
    """What happens at one weight of a moment, in this order. Numbers are indices into `Workflow.roles`."""

    weight: int
    start: tuple[int, ...] = ()
    """Calls that begin."""
    wait: tuple[int, ...] = ()
    """Calls that must have ended, begun here or earlier."""
    tasks: tuple[int, ...] = ()
    """Hook tasks that run to their end."""


@attrs.frozen
class Hooks:
    """All hooks of a workflow, by moment."""

    steps: Mapping[str, tuple[Step, ...]]

    @classmethod
    def of(cls, workflow: Workflow) -> Hooks:
        """Gather the hooks of a workflow. Calls and hook tasks without a trigger never run."""
        start: dict[tuple[str, int], list[int]] = {}
        wait: dict[tuple[str, int], list[int]] = {}
        tasks: dict[tuple[str, int], list[int]] = {}
        for index, role in enumerate(workflow.roles):
            traits = role.call or role.task
            if traits is None or traits.trigger is None:
                continue
            trigger = traits.trigger
            if role.task is not None:
                tasks.setdefault((trigger.name, trigger.weight), []).append(index)
                continue
            start.setdefault((trigger.name, trigger.weight), []).append(index)
            await_ = traits.await_ or trigger
            wait.setdefault((await_.name, await_.weight), []).append(index)
        steps: dict[str, list[Step]] = {}
        for name, weight in sorted({*start, *wait, *tasks}):
            key = (name, weight)
            steps.setdefault(name, []).append(
                Step(
                    weight=weight,
                    start=tuple(start.get(key, ())),
                    wait=tuple(wait.get(key, ())),
                    tasks=tuple(tasks.get(key, ())),
                )
            )
        return cls({name: tuple(found) for name, found in steps.items()})

    def at(self, moment: str) -> tuple[Step, ...]:
        """Return the steps of a moment, weights ascending; nothing if it has no hooks."""
        return self.steps.get(moment, ())
