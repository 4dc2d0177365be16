"""The integration `testplugin`: functions for trying out when calls run and what they see."""

from __future__ import annotations

import logging

from libecs.engine.effects import Call
from libecs.io.integrations import Functions, Outcome

logger = logging.getLogger(__name__)

TIMESTAMPS = ("run_start_time_ms", "run_start_completion_time_ms", "run_end_time_ms", "run_end_completion_time_ms")


class TestPlugin:
    """One instance of it. It remembers the order of calls per environment."""

    __test__ = False  # the name is AliECS', and pytest takes it for a class of tests

    def __init__(self) -> None:
        self._history: dict[str, list[str]] = {}

    def functions(self) -> Functions:
        """Return the functions for call roles."""
        return Functions(
            place="testplugin",
            handlers={
                "testplugin.Noop": self.noop,
                "testplugin.Test": self.test,
                "testplugin.TimestampObserver": self.timestamp_observer,
                "testplugin.CallOrderObserver": self.call_order_observer,
            },
        )

    def noop(self, call: Call) -> Outcome:
        """Do nothing."""
        return Outcome()

    def test(self, call: Call) -> Outcome:
        """Set `<role>_called`; fail or hang for ever where `testplugin_fail` or `testplugin_hang` is true."""
        _log_message(call)
        if call.variables.get("testplugin_hang") == "true":
            return Outcome(delay_s=None)
        if call.variables.get("testplugin_fail") == "true":
            return Outcome(error="testplugin_fail is true")
        return Outcome(sets={f"{call.role}_called": "true"})

    def timestamp_observer(self, call: Call) -> Outcome:
        """Set `<role>_saw_<name>` for each of the run's four timestamps that is there."""
        _log_message(call)
        return Outcome(sets={f"{call.role}_saw_{name}": "true" for name in TIMESTAMPS if call.variables.get(name)})

    def call_order_observer(self, call: Call) -> Outcome:
        """Append the role to `call_history`, separated by commas."""
        _log_message(call)
        # Calls of one weight begin together and see the same variables: the history is kept here.
        before = call.variables.get("call_history", "")
        history = self._history.setdefault(call.environment, before.split(",") if before else [])
        history.append(call.role)
        return Outcome(sets={"call_history": ",".join(history)})


def _log_message(call: Call) -> None:
    if message := call.variables.get("testplugin_message"):
        logger.info("%s: %s", call.role, message)
