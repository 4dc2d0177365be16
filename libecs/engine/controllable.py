"""What a client may ask of an environment in a state, and how it is told that something is not possible."""

from __future__ import annotations

from libecs.engine.environment import Environment
from libecs.errors import IllegalTransition
from libecs.fsm import EnvEvent, allowed_env

CONTROLLABLE = (
    EnvEvent.DEPLOY,
    EnvEvent.CONFIGURE,
    EnvEvent.RESET,
    EnvEvent.START_ACTIVITY,
    EnvEvent.STOP_ACTIVITY,
    EnvEvent.RECOVER,
)
"""Events that a client may send. GO_ERROR happens, EXIT is what destroying does."""


def not_possible(env: Environment, event: str, hint: str = "") -> IllegalTransition:
    """Return the refusal of an event, with those that may be sent instead."""
    possible = (one.name for one in allowed_env(env.state) if one in CONTROLLABLE)
    hint = hint or f"coconut environment show {env.id} tells how it is"
    return IllegalTransition(env.state.name, event, possible, hint=hint)
