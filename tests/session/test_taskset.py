"""Role-path patterns."""

from __future__ import annotations

import pytest

from libecs.errors import UsageError
from libecs.globs import below_root, matches, role_pattern


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
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
        ("*a*b", "aaxab", True),
        ("*a*b*", "xayyb", True),
        ("*a*b*", "bxa", False),
        ("a*b.c", "axbxb.c", True),
        ("?*?", "x", False),
    ],
)
def test_pattern(glob: str, path: str, expected: bool) -> None:
    assert bool(role_pattern(glob).fullmatch(path)) is expected


@pytest.mark.parametrize(
    ("glob", "path", "chosen"),
    [
        ("trigger", "cosmics.trigger", True),
        ("cosmics.trigger", "cosmics.trigger", True),
        ("trigger", "cosmics.arm.trigger", False),
        ("cosmics", "cosmics", True),
        ("*", "cosmics.trigger", True),
        ("**.**.**", "cosmics.trigger", True),
        ("**.**.x", "cosmics.trigger", False),
    ],
)
def test_name_of_the_root_may_be_left_out(glob: str, path: str, chosen: bool) -> None:
    assert matches(role_pattern(glob), path) is chosen


def test_path_as_people_write_it() -> None:
    assert (below_root("cosmics.a.b"), below_root("cosmics")) == ("a.b", "cosmics")


def test_pattern_of_many_stars_is_quick() -> None:
    assert not matches(role_pattern(".".join(["**"] * 40 + ["x"])), ".".join(["y"] * 40))


@pytest.mark.parametrize("glob", ["", "a..b", "a.b**", ".a"])
def test_wrong_pattern_is_a_usage_error(glob: str) -> None:
    with pytest.raises(UsageError, match="no pattern of role paths"):
        role_pattern(glob)


@pytest.mark.parametrize("element", ["*a" * 20 + "x", "*?" * 20 + "x"])
def test_element_of_many_stars_is_quick(element: str) -> None:
    assert not matches(role_pattern(element), "w." + "a" * 60)


def test_pattern_that_is_longer_than_any_path_is_refused() -> None:
    with pytest.raises(UsageError, match="2000 are allowed"):
        role_pattern("a" * 2001)
