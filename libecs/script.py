"""A workflow written in a script instead of a repository: `libecs.workflow("lab", tasks={"daq": libecs.task(…)})`.

It becomes the same templates that a repository would hold, so that everything behind it is the same.

Its tasks run in the folder of the script, wherever it is called from: `./digitizer` and `python3 hv.py` are the
programs that lie beside it. In a notebook, or a session at the prompt, it is the current folder.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from libecs.errors import TemplateError, UsageError

MODES = ("direct", "fairmq", "basic")
RECONFIGURE = ("reset", "live")


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
    reconfigure: str = ""
    on_exit: str = ""
    liveness: bool = False
    timeouts: Mapping[str, str] = attrs.field(factory=dict)
    cwd: str = ""

    def template(self, name: str, folder: str) -> dict[str, Any]:
        """Return the task template; `folder` is where it runs if it says nothing else."""
        control = {"mode": self.mode} | ({"endpoint": self.attach} if self.attach else {})
        template: dict[str, Any] = {"name": name, "control": control, "properties": dict(self.properties)}
        if self.argv:
            template["command"] = {
                "value": self.argv[0],
                "arguments": list(self.argv[1:]),
                "env": [f"{key}={value}" for key, value in self.environment.items()],
                "stdout": "all",
                "stderr": "all",
                "cwd": os.path.normpath(os.path.join(folder, self.cwd)),
            }
        said = {"stop": self.stop, "reconfigure": self.reconfigure, "on_exit": self.on_exit}
        template |= {key: value for key, value in said.items() if value}
        if self.liveness:
            template["liveness"] = True
        if self.timeouts:
            template["timeouts"] = dict(self.timeouts)
        return template


@attrs.frozen
class ScriptWorkflow:
    """A workflow and its task templates."""

    name: str
    tasks: Mapping[str, ScriptTask]
    folder: str = "/"
    """Where its tasks run."""

    def split(self, vars: Mapping[str, object]) -> tuple[dict[str, dict[str, object]], dict[str, object]]:
        """Part what a request says into properties of tasks, written `task.property`, and variables.

        The name of the workflow may stand before it, as in role paths. Only the first dots count: property names may
        hold dots, names of tasks do not.

        Raises:
            UsageError: there is no such task, or it is a basic one, which has no properties.
        """
        properties: dict[str, dict[str, object]] = {}
        variables: dict[str, object] = {}
        for key, value in vars.items():
            path = key
            first, dot, rest = path.partition(".")
            if dot and first == self.name and first not in self.tasks:
                first, dot, rest = rest.partition(".")
            if not dot:
                variables[key] = value
                continue
            if not rest:
                raise UsageError(f"{key!r} names no property", hint="write task.property")
            task = self.tasks.get(first)
            if task is None:
                raise UsageError(f"{key!r}: workflow {self.name} has no task {first!r}", hint=_meant(first, self.tasks))
            if task.mode == "basic":
                raise UsageError(
                    f"{key!r}: task {first} is a basic one and has no properties",
                    hint="put a variable into its command, as {{ volts }}, and name that in vars",
                )
            properties.setdefault(first, {})[rest] = value
        return properties, variables

    def with_properties(self, properties: Mapping[str, Mapping[str, object]]) -> ScriptWorkflow:
        """Return it with properties of tasks set, over those that it has."""
        tasks = {
            name: attrs.evolve(task, properties={**task.properties, **_texts(properties.get(name, {}))})
            for name, task in self.tasks.items()
        }
        return attrs.evolve(self, tasks=tasks)

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
            files[f"tasks/{name}.yaml"] = json.dumps(task.template(name, self.folder), indent=1)
        return files


def task(
    command: str | Sequence[str] = "",
    *,
    mode: str = "direct",
    start_after: str | Sequence[str] = (),
    stop: str = "",
    attach: str = "",
    critical: bool = True,
    properties: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    reconfigure: str = "reset",
    on_exit: str = "",
    liveness: bool = False,
    timeouts: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] = "",
) -> ScriptTask:
    """Describe a task.

    Args:
        command: what to execute, as a list, or as a text that is split as a shell would (no shell runs). It runs in
            the folder of the script. `{{run_dir}}` is the folder of the run, `{{name}}` a variable.
        mode: `direct` (an OCC task), `fairmq` (a FairMQ device) or `basic` (any program: runs while the run does).
        start_after: names of tasks, or one, that must be RUNNING before this one is started; they stop after it.
        stop: signal that asks a basic task to end, such as `SIGINT`; SIGKILL if empty.
        attach: `tcp://host:port` of a process that somebody else starts; then there is no command.
        critical: whether its end is the end of the run.
        properties: what CONFIGURE tells it; values that are no text become JSON.
        environment: environment variables of its process.
        reconfigure: how it takes new properties while CONFIGURED: `live` (it is told those that changed), or `reset`
            (it walks through RESET and CONFIGURE, in the same process).
        on_exit: `error`: a basic task that ends in a run breaks it, however it ends; else a clean end (code 0) is the
            end of its data. `drop`: a task of any mode that dies or goes to ERROR is excluded, and the run goes on.
        liveness: an OCC task whose progress counter stands still for 3 s while RUNNING is stalled.
        timeouts: task events to how long they may take, as {"CONFIGURE": "20s"}.
        cwd: another folder to run in, seen from that of the script.

    Raises:
        UsageError: neither or both of `command` and `attach`, a quote that is not closed, an unknown mode or way to
            reconfigure. What else is wrong is said by `workflow`, which knows the task's name.
    """
    argv = _split(command) if isinstance(command, str) else tuple(command)
    if bool(argv) == bool(attach):
        raise UsageError("a task has either a command or `attach`", hint='write libecs.task("./program --option")')
    if mode not in MODES:
        raise UsageError(f"there is no control mode {mode!r}", hint=f"modes are {', '.join(MODES)}")
    if reconfigure not in RECONFIGURE:
        raise UsageError(f"reconfigure={reconfigure!r}", hint='write reconfigure="live" or reconfigure="reset"')
    return ScriptTask(
        argv=argv,
        mode=mode,
        start_after=(start_after,) if isinstance(start_after, str) else tuple(start_after),
        stop=stop,
        attach=attach,
        critical=critical,
        properties=_texts(properties or {}),
        environment=dict(environment or {}),
        reconfigure="" if reconfigure == "reset" else reconfigure,
        on_exit=on_exit,
        liveness=liveness,
        timeouts=dict(timeouts or {}),
        cwd=os.path.expanduser(cwd),
    )


def workflow(
    name: str, tasks: Mapping[str, ScriptTask], *, folder: str | os.PathLike[str] | None = None
) -> ScriptWorkflow:
    """Describe a workflow: the names of its tasks, which are its roles, and what they are.

    Args:
        name: of the workflow, and of the root of its role tree.
        tasks: name to `libecs.task(…)`.
        folder: where its tasks run; None = the folder of the script that calls, or the current one where no file does.

    Raises:
        UsageError: no tasks, a name that a file or a role path can't hold, `start_after` a task that is not there, or
            something that no task can be told, such as an unknown signal.
    """
    if not tasks:
        raise UsageError(f"workflow {name!r} has no tasks", hint="give tasks={name: libecs.task(…)}")
    for one in (name, *tasks):
        if not one or "/" in one or "." in one:
            raise UsageError(f"{one!r} is no name for a workflow or task", hint="names hold no '/' and no '.'")
    for one, described in tasks.items():
        if not isinstance(described, ScriptTask):
            raise UsageError(
                f"{one!r} is {described!r}, which is no task", hint='write libecs.task("./program --option")'
            )
        for before in described.start_after:
            if before not in tasks:
                raise UsageError(f"{one!r} is to start after {before!r}: no such task", hint=_meant(before, tasks))
    from libecs.language.task import read_task  # here, for it brings the whole language: most clients need none

    place = _script_folder() if folder is None else os.path.abspath(os.path.expanduser(folder))
    for one, described in tasks.items():
        try:
            read_task(json.dumps(described.template(one, place)), f"tasks/{one}.yaml", name=one)
        except TemplateError as error:
            # Its place would be that in a text that the script's author has never seen.
            raise UsageError(f"task {one!r}: {error.reason}", hint=error.hint) from None
    return ScriptWorkflow(name, dict(tasks), place)


def _script_folder() -> str:
    """Return the folder of the file that calls this library, or the current one when none does."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "libecs":
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    return str(Path(file).absolute().parent if file else Path.cwd())


_TAG = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_PLACE = re.compile("\0([0-9]+)\0")


def _split(command: str) -> tuple[str, ...]:
    """Split a command as a shell would, but keep `{{ expression }}` in one word, quotes in it included."""
    tags = _TAG.findall(command)
    places = iter(range(len(tags)))
    try:
        words = shlex.split(_TAG.sub(lambda _: f"\0{next(places)}\0", command.replace("\0", "")))
    except ValueError as error:
        raise UsageError(
            f"cannot split the command {command!r}: {str(error).lower()}",
            hint="close the quote, or give a list of words",
        ) from None
    return tuple(_PLACE.sub(lambda match: tags[int(match[1])], word) for word in words)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _meant(wanted: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(wanted, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"tasks are {', '.join(known)}"
