r"""`matches`: regular expressions in time linear in the text, whatever the pattern.

A backtracking engine (Python's `re`) takes exponential time for some patterns, and templates come from elsewhere.
So this is Thompson's construction: a pattern becomes a small machine of states, and a text is read once with the set
of all states that are possible. The syntax is the plain part of RE2's:

    .  [a-z]  [^a]  \d \w \s \D \W \S  ( )  (?: )  |  * + ? {2,5}  ^ $
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from libecs.errors import ExpressionError
from libecs.language.values import fault

MAX_PATTERN: Final = 1000
"""Characters of a pattern."""
MAX_STATES: Final = 2000
"""States of its machine; a{50} counts as fifty a's."""
MAX_NESTING: Final = 32
"""Groups inside each other."""

Spend: TypeAlias = Callable[[int], None]
"""Takes steps off a budget and raises when there are none left."""
_Test: TypeAlias = Callable[[str], bool]
_Part: TypeAlias = Callable[["_Machine", int], int]
"""A part of a pattern: adds its states before the state given, and returns the state where it begins."""


def search(pattern: str, text: str, spend: Spend) -> bool:
    """Return whether some part of `text` matches `pattern`. Each character of the text costs four steps.

    Raises:
        ExpressionError: the pattern is wrong, holds what is not known here, or there are no steps left.
    """
    machine = _compile(pattern)
    begin = machine.reach((machine.start,), at_start=True, at_end=not text)
    states = begin
    again = machine.reach((machine.start,), at_start=False, at_end=False)
    place = _Place(states)
    known = {states: place}
    for character in text:
        if machine.accept in place.states:
            return True
        following = place.following.get(character)
        if following is None:
            stepped = machine.step(place.states, character)
            states = machine.reach(stepped, at_start=False, at_end=False) | again
            spend(4 * (len(place.states) + len(states)))
            following = place.following[character] = known.setdefault(states, _Place(states))
        place = following
        spend(4)
    return machine.accept in machine.reach(place.states, at_start=not text, at_end=True)


class _Place:
    """A set of states, and where each character that has come up leads from it."""

    __slots__ = ("following", "states")

    def __init__(self, states: frozenset[int]) -> None:
        self.states = states
        self.following: dict[str, _Place] = {}


class _Machine:
    """States by number. A state reads a character, or goes on without one, or does so at an end of the text only."""

    def __init__(self) -> None:
        self._tests: list[_Test | None] = []
        self._next: list[tuple[int, ...]] = []
        self._at_start: set[int] = set()
        self._at_end: set[int] = set()
        self.accept = self.add(None)
        self.start = self.accept

    def add(self, test: _Test | None, *following: int) -> int:
        """Add a state: with a test it reads one character."""
        if len(self._next) >= MAX_STATES:
            raise fault(f"the pattern needs more than {MAX_STATES} states", hint="make its {m,n} smaller")
        self._tests.append(test)
        self._next.append(following)
        return len(self._next) - 1

    def link(self, state: int, *following: int) -> None:
        """Set where a state added before goes on to."""
        self._next[state] = following

    def add_edge(self, following: int, *, end: bool) -> int:
        """Add a state that is passed at the end of the text only, or at its start only."""
        state = self.add(None, following)
        (self._at_end if end else self._at_start).add(state)
        return state

    def reach(self, states: Iterable[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        """Return the states and all that follow them without a character."""
        todo, seen = list(states), set(states)
        while todo:
            state = todo.pop()
            waits = self._tests[state] is not None
            if waits or (state in self._at_start and not at_start) or (state in self._at_end and not at_end):
                continue
            for other in self._next[state]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return frozenset(seen)

    def step(self, states: Iterable[int], character: str) -> tuple[int, ...]:
        """Return the states after one character."""
        found: list[int] = []
        for state in states:
            test = self._tests[state]
            if test is not None and test(character):
                found.extend(self._next[state])
        return tuple(found)


@functools.lru_cache(maxsize=256)
def _compile(pattern: str) -> _Machine:
    if len(pattern) > MAX_PATTERN:
        raise fault(f"the pattern has more than {MAX_PATTERN} characters")
    reader = _Reader(pattern)
    part = reader.alternatives(0)
    if reader.position < len(pattern):
        raise reader.error("a ) that closes nothing")
    machine = _Machine()
    machine.start = part(machine, machine.accept)
    return machine


# --- parts


def _character(test: _Test) -> _Part:
    return lambda machine, following: machine.add(test, following)


def _edge(end: bool) -> _Part:
    return lambda machine, following: machine.add_edge(following, end=end)


def _sequence(parts: list[_Part]) -> _Part:
    def emit(machine: _Machine, following: int) -> int:
        for part in reversed(parts):
            following = part(machine, following)
        return following

    return emit


def _either(parts: list[_Part]) -> _Part:
    return lambda machine, following: machine.add(None, *(part(machine, following) for part in parts))


def _repeat(part: _Part, low: int, high: int | None) -> _Part:
    def emit(machine: _Machine, following: int) -> int:
        if high is None:
            loop = machine.add(None)
            machine.link(loop, part(machine, loop), following)
            following = loop
        else:
            end = following
            for _ in range(high - low):
                following = machine.add(None, part(machine, following), end)
        for _ in range(low):  # a state each, so that repeats of nothing are bounded as well
            following = machine.add(None, part(machine, following))
        return following

    return emit


# --- reading a pattern

_SETS: Final[dict[str, _Test]] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "s": lambda c: c in "\t\n\f\r ",
    "D": lambda c: not "0" <= c <= "9",
    "W": lambda c: not (c == "_" or (c.isascii() and c.isalnum())),
    "S": lambda c: c not in "\t\n\f\r ",
}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_REPEATS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class _Reader:
    """Reads a pattern from left to right into parts."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0

    def error(self, reason: str) -> ExpressionError:
        """Return an error that names the place in the pattern."""
        return fault(f"the pattern {self.pattern!r} is wrong at character {self.position + 1}: {reason}")

    def _peek(self) -> str:
        return self.pattern[self.position : self.position + 1]

    def _take(self) -> str:
        character = self._peek()
        self.position += 1
        return character

    def alternatives(self, depth: int) -> _Part:
        """Read up to the end of a group or of the pattern."""
        if depth > MAX_NESTING:
            raise self.error(f"more than {MAX_NESTING} groups inside each other")
        branches: list[list[_Part]] = [[]]
        while self._peek() not in ("", ")"):
            if self._peek() == "|":
                self.position += 1
                branches.append([])
            else:
                branches[-1].append(self._repeated(depth))
        parts = [_sequence(branch) for branch in branches]
        return parts[0] if len(parts) == 1 else _either(parts)

    def _repeated(self, depth: int) -> _Part:
        part = self._atom(depth)
        bounds = self._bounds()
        if bounds is None:
            return part
        if self._peek() == "?":  # a lazy repeat matches the same texts
            self.position += 1
        if self._bounds() is not None:
            raise self.error("two repeats behind each other")
        return _repeat(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        sign = self._peek()
        if sign in _REPEATS:
            self.position += 1
            return _REPEATS[sign]
        if sign != "{":
            return None
        end = self.pattern.find("}", self.position)
        low, comma, high = self.pattern[self.position + 1 : end].partition(",")
        if end < 0 or not low.isdecimal() or not (high.isdecimal() or not high) or len(low + high) > 8:
            raise self.error("a repeat is written {2}, {2,} or {2,5}; write \\{ for a brace")
        bounds = int(low), (int(high) if high else None) if comma else int(low)
        if bounds[1] is not None and bounds[1] < bounds[0]:
            raise self.error("the second number of the repeat is less than the first")
        self.position = end + 1
        return bounds

    def _atom(self, depth: int) -> _Part:
        character = self._take()
        if character == "(":
            return self._group(depth)
        if character == "[":
            return _character(self._set())
        if character == ".":
            return _character(lambda c: c != "\n")
        if character in "^$":
            return _edge(end=character == "$")
        if character == "\\":
            return _character(self._escape())
        if character in "*+?{":
            self.position -= 1
            raise self.error(f"{character} has nothing to repeat")
        return _character(lambda c: c == character)

    def _group(self, depth: int) -> _Part:
        if self._peek() == "?":
            if not self.pattern.startswith("?:", self.position):
                raise self.error("(? is known only as (?:")
            self.position += 2
        part = self.alternatives(depth + 1)
        if self._take() != ")":
            raise self.error("a ( is not closed")
        return part

    def _escape(self) -> _Test:
        character = self._take()
        if character in _SETS:
            return _SETS[character]
        literal = self._literal(character)
        return lambda c: c == literal

    def _literal(self, character: str) -> str:
        if character in _CONTROLS:
            return _CONTROLS[character]
        if not character or character.isalnum():
            self.position -= 1
            raise self.error(f"\\{character} is not known")
        return character

    def _set(self) -> _Test:
        inverted = self._peek() == "^"
        if inverted:
            self.position += 1
        tests: list[_Test] = []
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            low = self._take()
            if not low:
                raise self.error("a [ is not closed")
            if low == "\\":
                low = self._take()
                if low in _SETS:
                    tests.append(_SETS[low])
                    continue
                low = self._literal(low)
            high = low
            if self._peek() == "-" and self.pattern[self.position + 1 : self.position + 2] not in ("]", ""):
                self.position += 1
                high = self._take()
                if high == "\\":
                    high = self._literal(self._take())
            if high < low:
                raise self.error(f"the range {low}-{high} is empty")
            ranges.append((low, high))
        self.position += 1

        def test(c: str) -> bool:
            found = any(low <= c <= high for low, high in ranges) or any(test(c) for test in tests)
            return found is not inverted

        return test
