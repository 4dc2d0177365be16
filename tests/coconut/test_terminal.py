"""On a terminal: the live tree, questions before something is lost, and `top`, with a real core."""

from __future__ import annotations

import pytest
from fieldkit.cluster import Cluster

from tests.coconut.conftest import Coconut
from tests.coconut.terminal import COLOUR, Terminal

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def running(at_core: Coconut) -> str:
    """An environment that takes a run."""
    at_core("environment", "create", "single", "--name", "shift", "-q")
    assert at_core("environment", "control", "shift", "START", "-q").status == 0
    return "shift"


def test_progress_is_a_tree_that_lives(at_core: Coconut, cluster: Cluster) -> None:
    variables = {name: value for name, value in cluster.variables().items() if name != "NO_COLOR"}
    with Terminal(["environment", "create", "field", "--name", "f"], variables) as terminal:
        assert terminal.end() == 0

    assert "● RUNNING" not in terminal.text
    assert "◐ CONFIGURED" in terminal.text
    assert "4 tasks: 4 CONFIGURED" in terminal.text
    assert COLOUR.search(terminal.raw)


def test_no_color_is_obeyed(at_core: Coconut, cluster: Cluster) -> None:
    variables = {**cluster.variables(), "NO_COLOR": "1"}
    with Terminal(["environment", "create", "field", "--name", "f"], variables) as terminal:
        assert terminal.end() == 0

    assert "◐ CONFIGURED" in terminal.text
    assert not COLOUR.search(terminal.raw)


def test_who_destroys_a_run_types_its_name(at_core: Coconut, cluster: Cluster, running: str) -> None:
    with Terminal(["environment", "destroy", running], cluster.variables()) as terminal:
        terminal.wait_for("type shift to go on")
        terminal.type("shit\n")
        assert terminal.end() == 1
        assert "nothing was done" in terminal.text
    assert at_core("environment", "show", running, "--json").document["state"] == "RUNNING"

    with Terminal(["environment", "destroy", running], cluster.variables()) as terminal:
        terminal.wait_for("type shift to go on")
        terminal.type("shift\n")
        assert terminal.end() == 0
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_destroy_asks_and_yes_does_not(at_core: Coconut, cluster: Cluster) -> None:
    for answer, status, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        at_core("environment", "create", "single", "--name", "shift", "-q") if left else None
        with Terminal(["environment", "destroy", "shift"], cluster.variables()) as terminal:
            terminal.wait_for("destroy environment shift (CONFIGURED)?")
            terminal.type(answer)
            assert terminal.end() == status
        assert len(at_core("environment", "list", "--json").document["environments"]) == left
    at_core("environment", "create", "single", "--name", "shift", "-q")
    with Terminal(["environment", "destroy", "shift", "--yes"], cluster.variables()) as terminal:
        assert terminal.end() == 0
        assert "?" not in terminal.text


# top


def test_top_shows_controls_and_leaves(at_core: Coconut, cluster: Cluster) -> None:
    at_core("environment", "create", "single", "--name", "shift", "-q")
    with Terminal(["top"], cluster.variables()) as terminal:
        terminal.wait_for("> ")
        terminal.wait_for("one")
        screen = terminal.wait_for_screen("◐ CONFIGURED")
        assert len(screen) <= 24
        assert all(len(line) <= 80 for line in screen), screen
        assert screen[0].startswith("coconut top  ")

        terminal.type("s")
        terminal.wait_for("? y/n")
        terminal.type("n")
        terminal.wait_for("nothing was done")
        terminal.type("s")
        terminal.mark()
        terminal.type("y")
        terminal.wait_for("RUNNING, run ")
        terminal.mark()
        terminal.type("?")
        terminal.wait_for("environments above")
        terminal.type("x")
        terminal.mark()
        terminal.type("e")
        terminal.wait_for("nothing is wrong")
        terminal.type("e")
        terminal.type("t")
        terminal.wait_for("STOP ")
        terminal.type("y")
        terminal.wait_for(": CONFIGURED")
        terminal.type("q")

        assert terminal.end() == 0
        assert terminal.left_as_it_was
        assert terminal.raw.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in terminal.raw


def test_top_says_that_the_core_is_not_heard_and_comes_back(at_core: Coconut, cluster: Cluster) -> None:
    at_core("environment", "create", "single", "--name", "shift", "-q")
    with Terminal(["top"], {**cluster.variables(), "NO_COLOR": "1"}) as terminal:
        terminal.wait_for("◐ CONFIGURED")
        cluster.core.pause()
        try:
            terminal.wait_for("SUSPECT: ")
            terminal.type("s")
            terminal.wait_for("the core is not heard")
        finally:
            cluster.core.resume()
        terminal.mark()
        terminal.wait_for("environments  0.")
        terminal.type("q")

        assert terminal.end() == 0
        assert not COLOUR.search(terminal.raw)
