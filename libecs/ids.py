"""Identifiers that need no entropy: instance, epoch and a counter make them unique for ever."""

from __future__ import annotations

import attrs

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Base 58: no 0, O, I, l, which people misread."""


def base58(number: int) -> str:
    """Write a non-negative number in base 58."""
    if number < 0:
        raise ValueError(f"base58 of a negative number: {number}")
    digits = ""
    while True:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
        if not number:
            return digits


@attrs.define
class IdSource:
    """Make ids of one life of one engine. The epoch grows with each life, so that no id comes twice."""

    instance: str
    """Short name of the installation; part of no id, so that ids stay short, but of their scope."""
    epoch: int
    counter: int = 0

    def next(self) -> str:
        """Return an id of about five characters that this instance never gave before and never gives again."""
        self.counter += 1
        return f"{base58(self.epoch)}{_SEPARATOR}{base58(self.counter)}"


_SEPARATOR = "0"
"""Not in the alphabet: the border between epoch and counter is unambiguous, and an id stays one word to click on."""
