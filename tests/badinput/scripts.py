"""Workflows of scripts that are wrong, the forms of `libecs.task` and `libecs.workflow`."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import libecs
from libecs.config.tree import Tree
from libecs.workflow.expand import expand
from libecs.workflow.source import TextSource
from tests.badinput.row import Row

_ids = count(1)


def script(name: str, run: Callable[[], object], *says: str, code: str = "E_USAGE", path: str = "") -> Row:
    """Return a row for lines of a script."""
    return Row(name=name, run=run, code=code, path=path, says=says)


def used(**tasks: object) -> Callable[[], object]:
    """Return the expansion of a workflow that a script describes."""

    def run() -> object:
        # Wrong types are what some rows are about.
        workflow = libecs.workflow("lab", tasks={name: libecs.task(**given) for name, given in tasks.items()})  # type: ignore[arg-type]
        source = TextSource(files=workflow.files())
        return expand(source, "lab", {}, Tree(), ids=lambda: f"id{next(_ids)}")

    return run


ROWS: tuple[Row, ...] = (
    script("no command", lambda: libecs.task(), "a task has either a command or `attach`", 'libecs.task("./program'),
    script("an empty command", lambda: libecs.task("  "), "a task has either a command or `attach`"),
    script("command and attach", lambda: libecs.task("x", attach="tcp://h:1"), "either a command or `attach`"),
    script("an unknown mode", lambda: libecs.task("x", mode="hokus"), "there is no control mode 'hokus'", "modes are"),
    script("an unknown reconfigure", lambda: libecs.task("x", reconfigure="now"), "reconfigure='now'", "live"),
    script("no tasks", lambda: libecs.workflow("lab", tasks={}), "workflow 'lab' has no tasks", "libecs.task(…)"),
    script("a name with a dot", lambda: libecs.workflow("a.b", tasks={"x": libecs.task("x")}), "'a.b' is no name"),
    script("a name that climbs", lambda: libecs.workflow("../a", tasks={"x": libecs.task("x")}), "'../a' is no name"),
    script("an empty name", lambda: libecs.workflow("", tasks={"x": libecs.task("x")}), "'' is no name", "no '/'"),
    script(
        "a start after nobody",
        lambda: libecs.workflow("lab", tasks={"a": libecs.task("x", start_after=["bb"]), "b": libecs.task("x")}),
        "'a' is to start after 'bb': no such task",
        "did you mean b?",
    ),
    script("a circle of starts", used(a={"command": "x", "start_after": ["b"]}, b={"command": "x", "start_after": ["a"]}), "roles start after each other", code="E_TEMPLATE", path="lab.a"),
    script("a start after itself", used(a={"command": "x", "start_after": ["a"]}), "which is the role itself", code="E_TEMPLATE", path="lab.a"),
    script("a signal that is none", used(a={"command": "x", "mode": "basic", "stop": "SIGFOO"}), "SIGFOO", "a signal, one of SIGTERM", code="E_USAGE"),
    script("on_exit in words", used(a={"command": "x", "on_exit": "restart"}), "error", code="E_USAGE"),
    script("a timeout in words", used(a={"command": "x", "timeouts": {"START": "soon"}}), "not a duration: 'soon'", code="E_USAGE"),
    script("a timeout of an unknown event", used(a={"command": "x", "timeouts": {"STRAT": "5s"}}), "has the event 'STRAT'", code="E_USAGE"),
    script("a wrong expression", used(a={"command": ["x", "{{ a b }}"]}), "`b` can't stand here", code="E_USAGE"),
    script("an open tag", used(a={"command": ["x", "{{ run_dir"]}), "{{ is not closed", code="E_USAGE"),
)  # fmt: skip
