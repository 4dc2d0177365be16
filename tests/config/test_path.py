"""Paths of component configuration."""

from __future__ import annotations

import pytest

from libecs.config.path import RunType, candidates, component_path, parse_path, resolve, run_type, runtime_key
from libecs.errors import InvalidInput, NotFound


def test_a_path_is_read_and_written() -> None:
    path = parse_path("qc/PHYSICS/pp/ctp-raw-qc")

    assert (path.component, path.run_type, path.role, path.entry) == ("qc", RunType.PHYSICS, "pp", "ctp-raw-qc")
    assert str(path) == "qc/PHYSICS/pp/ctp-raw-qc"
    assert path.key == "o2/components/qc/PHYSICS/pp/ctp-raw-qc"


def test_an_entry_may_hold_folders() -> None:
    assert parse_path("qc/ANY/any/tpc/clusters").entry == "tpc/clusters"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qc/ANY/any",
        "qc/ANY//x",
        "qc/ANY/any/ctp qc",
        "qc/physics/any/x",
        "qc/FOO/any/x",
        "qc/ANY/any/",
        "qc/ANY/any/a//b",
        "q.c/ANY/any/x",
        "qc/ANY/any/entry@1",
    ],
)
def test_bad_paths_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_path(text)


def test_none_is_a_run_type_that_only_any_can_serve() -> None:
    assert run_type("NONE") is RunType.NULL
    with pytest.raises(InvalidInput, match="unknown run type 'PHYSIC'"):
        run_type("PHYSIC")


def test_fallbacks_go_from_the_exact_path_to_any_any() -> None:
    path = component_path("readout", "PHYSICS", "standalone", "x")

    assert [str(candidate) for candidate in candidates(path)] == [
        "readout/PHYSICS/standalone/x",
        "readout/ANY/standalone/x",
        "readout/PHYSICS/any/x",
        "readout/ANY/any/x",
    ]
    assert [str(candidate) for candidate in candidates(parse_path("readout/ANY/any/x"))] == ["readout/ANY/any/x"]


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ({"c/PHYSICS/r/e", "c/ANY/r/e", "c/ANY/any/e"}, "c/PHYSICS/r/e"),
        ({"c/ANY/r/e", "c/PHYSICS/any/e", "c/ANY/any/e"}, "c/ANY/r/e"),
        ({"c/PHYSICS/any/e", "c/ANY/any/e"}, "c/PHYSICS/any/e"),
        ({"c/ANY/any/e"}, "c/ANY/any/e"),
    ],
)
def test_resolution_takes_the_first_that_exists(present: set[str], found: str) -> None:
    keys = {f"o2/components/{path}" for path in present}

    assert str(resolve(parse_path("c/PHYSICS/r/e"), keys.__contains__)) == found


def test_resolution_without_any_candidate_raises_and_names_them() -> None:
    with pytest.raises(NotFound, match=r"could not resolve configuration path c/ANY/any/e") as caught:
        resolve(parse_path("c/ANY/any/e"), lambda key: False)
    assert "c/ANY/any/e" in caught.value.hint


def test_runtime_keys() -> None:
    assert runtime_key("trg/ltu", "a") == "o2/runtime/trg/ltu/a"
    with pytest.raises(InvalidInput, match="needs a component and a key"):
        runtime_key("trg", "")
