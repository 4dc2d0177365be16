"""What an environment needs of the core around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from libecs.engine.effects import Effect, Now
from libecs.engine.placement import NodeOffer
from libecs.errors import EcsError
from libecs.wire.client import Finished
from libecs.wire.info import RunInfo

if TYPE_CHECKING:
    from libecs.access import Principal
    from libecs.engine.environment import Environment
    from libecs.engine.pool import Pool


class Context(Protocol):
    """What an environment needs of the core around it."""

    now: Now
    environments: dict[str, Environment]
    pool: Pool
    """Tasks that no environment uses."""

    def emit(self, effect: Effect) -> None:
        """Add an effect."""

    def event(self, kind: str, environment: str = "", **fields: object) -> None:
        """Publish and journal an event."""

    def send_node(self, node: str, message: Callable[[int, int], object]) -> bool:
        """Send what `message(session, epoch)` makes, if the node is there; tell whether it was."""

    def defer(self, action: Callable[[], None]) -> None:
        """Do this in a later `handle` of its own."""

    def offers(self) -> list[NodeOffer]:
        """Return the nodes that can take tasks now."""

    def node_problem(self, node: str) -> str:
        """Return why a node can't be reached, "" if it can."""

    def new_id(self) -> str:
        """Return an id that was never used."""

    def condemn(self, node: str, tasks: Iterable[str]) -> None:
        """End tasks for certain, however long that takes; `steps.gone` is called for each."""

    def is_condemned(self, task: str) -> bool:
        """Whether a task is to end, and is not known to be gone yet."""

    def adopt_tasks(self, environment: Environment) -> None:
        """Route what nodes say of the environment's tasks to it."""

    def save_run(self, run: RunInfo) -> None:
        """Write a run record."""

    def run(self, number: int) -> RunInfo:
        """Return a run record."""

    def released(self, environment: Environment, tasks: Iterable[str]) -> None:
        """An environment lets tasks go; what they have told of its run still counts."""

    def run_began(self, environment: Environment, number: int) -> None:
        """A run has its number: what its tasks tell counts for it."""

    def run_ended(self, environment: Environment, number: int) -> None:
        """A run is over and judged: show and write what is known of it."""

    def finish(self, environment: Environment, answer: Finished) -> None:
        """End the operation that is going on."""

    def remove(self, environment: Environment) -> None:
        """Forget an environment that is DONE."""

    def perform(self, environment: Environment) -> None:
        """Enter the present step."""

    def leave(self, environment: Environment) -> None:
        """The present step is over or given up: end what it started for itself alone."""

    def is_awaited(self, node: str) -> bool:
        """Return whether a node has not told what it holds since the core began its life, and may do so still."""

    def nodes_away(self) -> Mapping[str, float]:
        """Return the nodes that would take tasks and are not connected, to when they were heard last."""

    def takes_tasks(self, node: str) -> bool:
        """Return whether anything new may be placed on a node."""

    def give_up(self, environment: Environment) -> None:
        """The present plan is given up: undo what it has begun and does not end."""

    def retreat(self, environment: Environment) -> None:
        """What a modification was to put back can't be: go on with the plan that lets it go."""

    def missing(self, environment: Environment, path: str, reason: str) -> None:
        """A part that a run can do without is missing in it from now on."""

    def drop_dead(self, environment: Environment) -> None:
        """Exclude tasks that are dead and whose class says that it does not matter."""

    def detectors(self, environment: Environment) -> tuple[str, ...]:
        """Return the detectors that take part in an environment."""

    def detectors_problem(
        self, environment: Environment, excluded: Iterable[str], requester: str = "", who: Principal | None = None
    ) -> EcsError | None:
        """Return why an environment may not go on with what is left when these roles are excluded, None if it may.

        `who` asks, as `requester`; without, it is who asked for what goes on.
        """

    def idempotent(self, function: str) -> bool:
        """Whether a call may be repeated when nobody knows how it ended."""
