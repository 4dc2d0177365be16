"""Token buckets: how much one peer may ask for, so that the others have their turn."""

from __future__ import annotations

from enum import Enum

import attrs

MAX_KEYS = 10_000
"""Buckets that are kept; those that are full again are forgotten first."""
BUSY_SHARE = 5.0
"""So many times faster than what is done may what is only answered `E_BUSY` come."""


@attrs.frozen
class Rate:
    """How often something may happen."""

    per_s: float
    """On average; 0 = as often as one likes."""
    burst: float
    """At once, after a pause."""


@attrs.define
class _Bucket:
    tokens: float
    at: float
    """Monotonic seconds when it held that."""

    def take(self, rate: Rate, now: float) -> bool:
        self.tokens = min(rate.burst, self.tokens + (now - self.at) * rate.per_s)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Buckets:
    """One bucket for each key. It knows no clock: who asks says when that is, in monotonic seconds."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str, now: float) -> bool:
        """Take a token of a key; False if it has none now."""
        if self.rate.per_s <= 0:
            return True
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_KEYS:
                self._forget(now)
            bucket = self._buckets[key] = _Bucket(self.rate.burst, now)
        return bucket.take(self.rate, now)

    def _forget(self, now: float) -> None:
        """Forget the buckets that are full; if none is, the one that was asked for longest ago."""
        rate = self.rate
        full = [key for key, one in self._buckets.items() if one.tokens + (now - one.at) * rate.per_s >= rate.burst]
        for key in full or [min(self._buckets, key=lambda key: self._buckets[key].at)]:
            del self._buckets[key]

    def __len__(self) -> int:
        return len(self._buckets)


class Turn(Enum):
    """What a message of a peer gets."""

    SERVED = "served"
    BUSY = "busy"
    """It is told to come again."""
    FLOOD = "flood"
    """It is not looked at: to say no would cost too much."""


class Turns:
    """Who may ask now: up to `rate` he is served, up to `BUSY_SHARE` times that he is told that he asks too often."""

    def __init__(self, rate: Rate) -> None:
        self._served = Buckets(rate)
        self._refused = Buckets(Rate(rate.per_s * BUSY_SHARE, rate.burst * BUSY_SHARE))

    def take(self, key: str, now: float) -> Turn:
        """Return what the next message of a key gets."""
        if self._served.take(key, now):
            return Turn.SERVED
        return Turn.BUSY if self._refused.take(key, now) else Turn.FLOOD
