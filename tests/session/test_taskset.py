"""Role-path patterns."""

from __future__ import annotations

import pytest

from libecs.errors import UsageError
from libecs.taskset import role_pattern


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("**", "a", True),
        ("**", "a.b.c", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("**.sink", "sink", True),
        ("**.sink", "a.b.sink", True),
        ("**.sink", "a.b.sinking", False),
        ("**.sink", "a.presink", False),
        ("a.**.d", "a.d", True),
        ("a.**.d", "a.b.c.d", True),
        ("a.**", "a.b", True),
        ("a.**", "ab", False),
        ("a.host-?.*", "a.host-1.x", True),
        ("a.host-?.*", "a.host-10.x", False),
        ("a.flp*.x", "a.flp12.x", True),
        ("a.flp*.x", "a.flp12.b.x", False),
        ("a+b", "aab", False),
    ],
)
def test_pattern(glob: str, path: str, matches: bool) -> None:
    assert bool(role_pattern(glob).fullmatch(path)) is matches


@pytest.mark.parametrize("glob", ["", "a..b", "a.b**", ".a"])
def test_wrong_pattern_is_a_usage_error(glob: str) -> None:
    with pytest.raises(UsageError, match="no pattern of role paths"):
        role_pattern(glob)
