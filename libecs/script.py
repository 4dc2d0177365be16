"""A workflow written in a script instead of a repository: `libecs.workflow("lab", tasks={"daq": libecs.task(…)})`.

It becomes the same templates that a repository would hold, so that everything behind it is the same.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from libecs.errors import UsageError

MODES = ("direct", "fairmq", "basic")


@attrs.frozen(kw_only=True)
class ScriptTask:
    """One task of a script's workflow."""

    argv: tuple[str, ...] = ()
    mode: str = "direct"
    start_after: tuple[str, ...] = ()
    stop: str = ""
    attach: str = ""
    critical: bool = True
    properties: Mapping[str, str] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)

    def template(self, name: str) -> dict[str, Any]:
        """Return the task template."""
        control = {"mode": self.mode} | ({"endpoint": self.attach} if self.attach else {})
        template: dict[str, Any] = {"name": name, "control": control, "properties": dict(self.properties)}
        if self.argv:
            template["command"] = {
                "value": self.argv[0],
                "arguments": list(self.argv[1:]),
                "env": [f"{key}={value}" for key, value in self.environment.items()],
                "stdout": "all",
                "stderr": "all",
            }
        if self.stop:
            template["stop"] = self.stop
        return template


@attrs.frozen
class ScriptWorkflow:
    """A workflow and its task templates."""

    name: str
    tasks: Mapping[str, ScriptTask]

    def files(self) -> dict[str, str]:
        """Return the templates as a repository holds them: path to text. JSON is YAML too."""
        roles = []
        for name, task in self.tasks.items():
            role: dict[str, Any] = {"name": name, "task": {"load": name, "critical": task.critical}}
            if task.start_after:
                role["start_after"] = list(task.start_after)
            roles.append(role)
        files = {f"workflows/{self.name}.yaml": json.dumps({"name": self.name, "roles": roles}, indent=1)}
        for name, task in self.tasks.items():
            files[f"tasks/{name}.yaml"] = json.dumps(task.template(name), indent=1)
        return files


def task(
    command: str | Sequence[str] = "",
    *,
    mode: str = "direct",
    start_after: Sequence[str] = (),
    stop: str = "",
    attach: str = "",
    critical: bool = True,
    properties: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> ScriptTask:
    """Describe a task.

    Args:
        command: what to execute, as a list, or as a text that is split as a shell would (no shell runs).
        mode: `direct` (an OCC task), `fairmq` (a FairMQ device) or `basic` (any program: runs while the run does).
        start_after: names of tasks that must be RUNNING before this one is started; they stop after it.
        stop: signal that asks a basic task to end, such as `SIGINT`; SIGKILL if empty.
        attach: `tcp://host:port` of a process that somebody else starts; then there is no command.
        critical: whether its end is the end of the run.
        properties: what CONFIGURE tells it; values that are no text become JSON.
        environment: environment variables of its process.

    Raises:
        UsageError: neither or both of `command` and `attach`, or an unknown mode.
    """
    argv = tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)
    if bool(argv) == bool(attach):
        raise UsageError("a task has either a command or `attach`", hint='write libecs.task("./program --option")')
    if mode not in MODES:
        raise UsageError(f"there is no control mode {mode!r}", hint=f"modes are {', '.join(MODES)}")
    return ScriptTask(
        argv=argv,
        mode=mode,
        start_after=tuple(start_after),
        stop=stop,
        attach=attach,
        critical=critical,
        properties={
            name: value if isinstance(value, str) else json.dumps(value) for name, value in (properties or {}).items()
        },
        environment=dict(environment or {}),
    )


def workflow(name: str, tasks: Mapping[str, ScriptTask]) -> ScriptWorkflow:
    """Describe a workflow: the names of its tasks, which are its roles, and what they are.

    Raises:
        UsageError: no tasks, or a name that a file or a role path can't hold.
    """
    if not tasks:
        raise UsageError(f"workflow {name!r} has no tasks", hint="give tasks={name: libecs.task(…)}")
    for one in (name, *tasks):
        if not one or "/" in one or "." in one:
            raise UsageError(f"{one!r} is no name for a workflow or task", hint="names hold no '/' and no '.'")
    return ScriptWorkflow(name, dict(tasks))
