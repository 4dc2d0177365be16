"""What is wrong only when a task is launched or configured, or a call is made."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from libecs.config.tree import Tree
from libecs.workflow.channels import resolve
from libecs.workflow.expand import expand
from libecs.workflow.launch import Launcher, late_functions
from libecs.workflow.role import Workflow
from libecs.workflow.source import TextSource
from tests.badinput.row import Row

_ids = count(1)


def grown(role: str, task: str) -> Workflow:
    """Return a workflow `w` of one task `r` of class `t`."""
    files = {
        "workflows/w.yaml": f"name: w\nroles:\n  - {{name: r, {role}}}\n",
        "tasks/t.yaml": f"name: t\n{task}",
        "tasks/b.yaml": "name: b\ncommand: {value: x}\n",
    }
    return expand(TextSource(files=files), "w", {}, Tree(), ids=lambda: f"id{next(_ids)}")


def late(name: str, do: Callable[[Launcher], object], task: str, *says: str, code: str, role: str = "") -> Row:
    """Return a row for what is done with the task."""
    written = role or "task: {load: t}"
    return Row(
        name=name,
        run=lambda: do(Launcher(grown(written, task), late_functions())),
        code=code,
        path="w.r",
        says=says,
        source=task + role,
    )


def launched(name: str, task: str, *says: str, code: str = "E_EXPRESSION") -> Row:
    """Return a row for launching a task."""
    return late(name, lambda launcher: launcher.command(1, {}), task, *says, code=code)


def configured(name: str, properties: str, *says: str, code: str = "E_EXPRESSION") -> Row:
    """Return a row for the properties of a task."""
    task = f"command: {{value: x}}\nproperties: {properties}\n"
    return late(name, lambda launcher: launcher.properties(1, {}, channels={}), task, *says, code=code)


def called(name: str, func: str, *says: str) -> Row:
    """Return a row for a call."""
    role = f'call: {{func: "{func}", trigger: DESTROY}}'

    def do(launcher: Launcher) -> object:
        return launcher.call(1, "e1")

    return late(name, do, "command: {value: x}\n", *says, code="E_EXPRESSION", role=role)


def connected(role: str) -> Callable[[], object]:
    """Return the resolving of channels while no task runs that binds one."""
    return lambda: resolve(grown(role, "command: {value: x}\nbind: [{name: in, type: push}]\n"), {})


ROWS: tuple[Row, ...] = (
    launched("an unknown variable", "command: {value: '{{ nobody }}'}\n", "t.yaml: role w.r: unknown variable 'nobody'"),
    launched("an unknown function", "command: {value: 'x{{ strings.Nope() }}'}\n", "unknown function strings.Nope()"),
    launched("a command that becomes empty", "command: {value: \"{{ '' }}\"}\n", "the command is empty text", code="E_TEMPLATE"),
    launched("an output that is none", "command: {value: x, stdout: file}\n", "`stdout` is 'file'", "none, stdout, all", code="E_TEMPLATE"),
    launched("an error output that is none", "command: {value: x, stderr: '1'}\n", "`stderr` is '1'", code="E_TEMPLATE"),
    launched("a variable that needs itself", "defaults: {a: '{{ a }}'}\ncommand: {value: '{{ a }}'}\n", "'a' of the task template needs itself: a -> a", "give it a value in a role"),
    launched("variables in a circle", "defaults: {a: '{{ b }}', b: '{{ c }}', c: '{{ a }}'}\ncommand: {value: '{{ a }}'}\n", "needs itself: a -> b -> c -> a"),
    launched("a chain of 200 variables", "defaults: {" + ", ".join(f"v{n}: '{{{{ v{n + 1} }}}}'" for n in range(200)) + ", v200: '{{ v0 }}'}\ncommand: {value: '{{ v0 }}'}\n", "needs itself: v0 -> v1"),
    launched("a fresh id", "command: {value: 'x{{ uid.New() }}'}\n", "would give another id each time", "call it in the `vars` of a role"),
    launched("a text of a list", "command: {value: x, arguments: ['{{ nil }}']}\n", "the result is nil, which has no text"),
    launched("an environment without a value", "command: {value: x, env: ['A={{ nobody }}']}\n", "unknown variable 'nobody'"),
    launched("a power without end", "command: {value: x, user: '{{ 9**9**9 }}'}\n", "is not a finite number"),
    launched("a text that explodes", "defaults: {a: '{{ map(1..9999, {map(1..9999, {#})}) }}'}\ncommand: {value: '{{ a }}'}\n", "needs more than 100000 steps"),
    launched("a generated command", "command: {value: \"{{ dpl.Generate('x') }}\"}\n", "dpl.Generate works only where a workflow is loaded"),
    late("an unknown variable of an endpoint", lambda launcher: launcher.endpoint(1, {}), "control: {endpoint: 'tcp://{{ nobody }}:1'}\n", "unknown variable 'nobody'", code="E_EXPRESSION"),
    configured("an unknown variable of a property", "{p: '{{ nobody }}'}", "t.yaml: role w.r: unknown variable 'nobody'"),
    configured("a runtime value of a property", "{p: \"{{ runtime.Set('a', 'b', 'c') }}\"}", "runtime.Set works only where a workflow is loaded"),
    configured("a property of a payload", "{p: \"{{ config.Get('c/ANY/any/e') }}\"}", "no payload at configuration path c/ANY/any/e"),
    configured("a tree in an unknown syntax", "{p: \"{{ ToPtree('x', 'toml') }}\"}", "ToPtree does not know the syntax 'toml'", "one of "),
    called("a call with an unknown variable", "dcs.Run(nobody)", "role w.r: unknown variable 'nobody'"),
    called("a call with an unknown function", "dcs.Run(strings.Nope())", "unknown function strings.Nope()"),
    called("a call of a wrong type", "dcs.Run('a' + 1)", "`+` does not work on a string and an int"),
    Row(
        name="a task that connects to one that does not run",
        run=connected("roles: [{name: a, task: {load: t, critical: false}}, {name: b, connect: [{name: c, type: pull, target: 'w.r.a:in'}], task: {load: b}}]"),
        place="workflows/w.yaml:3:0",
        path="w.r.b",
        says=("channel 'c' connects to 'w.r.a:in', whose task does not run",),
    ),
)  # fmt: skip
