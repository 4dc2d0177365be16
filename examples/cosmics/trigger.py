"""A trigger board as a task that somebody else starts, here or on another machine; cosmics.py only attaches to it.

    python3 trigger.py tcp://127.0.0.1:47100
    python3 trigger.py tcp://0.0.0.0:47100 --rate 50     reachable from other machines, fewer events

It goes on when the script ends, and serves the next one. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import time

import occ


class Trigger(occ.Task):
    """Counts events that it makes up."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._started_s = self._told_s = 0.0
        self._events = 0

    def start(self, run: int) -> None:
        self._started_s = self._told_s = time.monotonic()
        self._events = 0

    def iterate_running(self) -> bool:
        now_s = time.monotonic()
        elapsed_s = now_s - self._told_s
        if elapsed_s >= 0.1:
            events = int((now_s - self._started_s) * self._rate_hz)
            # A counter is told as it stands: who wants to know how far it is asks for the metric's `last`.
            self.metric("events", events)
            self.metric("rate", (events - self._events) / elapsed_s, "Hz")
            self._events, self._told_s = events, now_s
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint", help="where the controller connects to: tcp://address:port")
    parser.add_argument("--rate", type=float, default=2e6, metavar="HZ", help="events a second (default: %(default)g)")
    options = parser.parse_args()
    Trigger(options.rate).run(options.endpoint)
