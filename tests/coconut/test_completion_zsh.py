"""The script for zsh, run by zsh: what it asks the shell for, whose own functions only tell what they were given."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ecsd.coconut.completion import BETTER, SHELLS
from tests.coconut.conftest import Coconut

SHELL = """
compdef() { : }
compset() { print -r -- compset "$@" }
compadd() { print -r -- compadd "$@" $open $open_shown $completions }
_describe() { print -r -- describe $completions_with_descriptions }
source $1
shift
words=("$@")
CURRENT=$#words
_coconut_completion
"""


PressTab = Callable[..., list[str]]
"""Takes what coconut proposes, and the words of the line."""


@pytest.fixture
def press_tab(coconut: Coconut, tmp_path: Path) -> PressTab:
    """Return what the script asks the shell for, when coconut proposes `proposals`."""
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("there is no zsh")  # an optional shell: ./dev does not install it
    script = tmp_path / "coconut.zsh"
    script.write_text(coconut("completion", "zsh").out)

    def press(proposals: str, *words: str) -> list[str]:
        answer = tmp_path / "coconut"
        answer.write_text(f"#!/bin/sh\ncat <<'END'\n{proposals}\nEND\n")
        answer.chmod(0o755)
        done = subprocess.run(
            [zsh, "-f", "-c", SHELL, "zsh", str(script), *words],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return press


def test_the_value_of_an_option_with_equals_sign_keeps_the_option(press_tab: PressTab) -> None:
    lines = press_tab("plain\np2\ntcp://head", "coconut", "info", "--context=p")

    assert lines == ["compset -P 1 *=", "describe p2:tcp://head"]


def test_a_value_that_stands_alone_is_proposed_as_before(press_tab: PressTab) -> None:
    assert press_tab("plain\np2\n_", "coconut", "info", "--context", "p") == [
        "compadd -U -V unsorted -a completions p2"
    ]


def test_a_name_that_waits_for_its_value_gets_no_blank(press_tab: PressTab) -> None:
    lines = press_tab("plain\nrate=\nMessages a second\nplain\nraw=\n_", "coconut", "run", "take", "demo", "-e", "ra")

    assert lines == ["compadd -U -V unsorted -S  -l -d open_shown -a open rate= raw= rate=  -- Messages a second raw="]


@pytest.mark.parametrize("theirs", [theirs for theirs, _ in BETTER])
def test_each_change_finds_its_place_in_a_script_of_click(theirs: str) -> None:
    from click.shell_completion import get_completion_class

    from ecsd.coconut.main import coconut

    found = [get_completion_class(shell) for shell in SHELLS]
    scripts = [one(coconut, {}, "coconut", "_COCONUT_COMPLETE").source() for one in found if one is not None]

    assert sum(theirs in script for script in scripts) == 1
