"""What is evaluated late, once for each task: commands when launching, properties at CONFIGURE, arguments of calls.

A `Launcher` compiles the texts of each task class once. A text sees, the strongest first, the specials of the task
(task_hostname and the like), what is set at run time on its role and ancestors, the role's variables, and those of the
task class, which are evaluated in whatever order they need each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from libecs.config.tree import Tree
from libecs.errors import ExpressionError, TemplateError
from libecs.language.duration import format_duration
from libecs.language.expression import RoleRef, Text, compile_text
from libecs.language.functions import FunctionTable, pure_functions
from libecs.language.marks import Mark
from libecs.language.variables import Base, LazyTexts, Origin, Overlay, Stack
from libecs.workflow.calls import Call, parse_call
from libecs.workflow.channels import has_channels
from libecs.workflow.role import CallTraits, Role, TaskClass, Workflow
from libecs.workflow.scope import RoleScope
from libecs.workflow.services import Services, functions, refused, with_runtime, with_trees

OUTPUTS = ("none", "stdout", "all")
FILL_INFO = (
    "fill_info_fill_number",
    "fill_info_filling_scheme",
    "fill_info_beam_type",
    "fill_info_stable_beams_start_ms",
    "fill_info_stable_beams_end_ms",
)
START_VARIABLES = (
    *FILL_INFO,
    "run_number",
    "run_type",
    "run_start_time_ms",
    "run_end_time_ms",
    "lhc_period",
    "pdp_beam_type",
    "pdp_override_run_start_time",
    "original_run_number",
)
"""Variables that START tells the tasks, where they exist, under both spellings: run_number and runNumber."""
STOP_VARIABLES = (*FILL_INFO, "run_end_time_ms")
_ORBIT_RESET_SOURCE = "pdp_override_run_start_time"
_TO_TREE = ("ToPtree",)
_NO_OVERLAY: Overlay = {}
_NOTHING: Mapping[str, str] = {}


@attrs.frozen(kw_only=True)
class Command:
    """How one task is started."""

    argv: tuple[str, ...]
    """What is executed; for a shell command `/bin/sh -c text`."""
    shell: bool = False
    environment: Mapping[str, str] = attrs.field(factory=dict)
    user: str = ""
    cwd: str = ""
    """Folder in which it runs, "" = the usual one."""
    stdout: str = "none"
    """none, stdout (to the executor's log) or all (to the central log too)."""
    stderr: str = "none"


@attrs.frozen(kw_only=True)
class PlacedCall:
    """One call, with the variables that the integration gets."""

    call: Call
    variables: Mapping[str, str]
    """The role's consolidated variables with the `__call_…` ones."""


@attrs.frozen(eq=False)
class _Place:
    """A role in the tree, for `Parent()` and `Up()`."""

    ref: RoleRef
    parent: _Place | None
    stack: Stack


@attrs.frozen(eq=False)
class _ClassTexts:
    """The texts of a task class, compiled."""

    variables: Mapping[str, Text]
    command: Text
    arguments: tuple[str | Text, ...]
    """Those without {{ }} as they are; of a shell command joined with their neighbours, as most of them are literal."""
    environment: tuple[Text, ...]
    user: Text
    cwd: Text
    stdout: Text
    stderr: Text
    properties: Mapping[str, str]
    """As they are written."""
    late_properties: tuple[tuple[str, Text], ...]
    """Those that are to be evaluated."""
    makes_trees: bool
    """A property calls `ToPtree`."""


class Launcher:
    """Evaluates the late texts of one workflow. It remembers what is compiled, and nothing of any task."""

    def __init__(self, workflow: Workflow, table: FunctionTable | None = None) -> None:
        self.workflow = workflow
        table = table or late_functions()
        self._functions = with_runtime(table, workflow.runtime) if workflow.runtime else table
        self._base = Base(user=workflow.user_vars, vars=workflow.base_vars, defaults=workflow.base_defaults)
        self._places: dict[int, _Place] = {}
        self._last: tuple[int, _Place] | None = None
        """The task that was asked for last, which is mostly the one that is asked for next."""
        self._classes: dict[str, _ClassTexts] = {}

    # --------------------------------------------------------------------------------------------- variables

    def stack(self, index: int) -> Stack:
        """Return the variables of role number `index`."""
        return self._place(index).stack

    def variables(
        self, index: int, overlay: Overlay = _NO_OVERLAY, specials: Mapping[str, str] = _NOTHING
    ) -> dict[str, str]:
        """Return all variables of a role with the values that win."""
        return {**self._place(index).stack.consolidated(overlay), **specials}

    def explain(self, index: int, name: str, overlay: Overlay = _NO_OVERLAY) -> tuple[Origin, ...]:
        """Return where `name` has values for a role, the one that wins first; those of its task class last.

        Texts of the task class are given as they are written.
        """
        origins = self._place(index).stack.explain(name, overlay)
        role = self.workflow.roles[index]
        if role.task is None:
            return origins
        task_class = self.workflow.classes[role.task.class_name]
        layers = (("class vars", task_class.vars), ("class defaults", task_class.defaults))
        return origins + tuple(
            Origin(layer=layer, role=task_class.name, value=table[name]) for layer, table in layers if name in table
        )

    # --------------------------------------------------------------------------------------------- tasks

    def command(
        self,
        index: int,
        specials: Mapping[str, str],
        overlay: Overlay = _NO_OVERLAY,
        *,
        extra_arguments: Iterable[str] = (),
    ) -> Command:
        """Return how the task of role number `index` is started.

        With `shell: true` command and arguments are joined by blanks and not quoted, as in AliECS: real templates put
        their own quotes into arguments (`--backend='{{ url }}'`) and rely on words that vanish when they are blank.

        Raises:
            TemplateError: a text can't be evaluated, `stdout` or `stderr` is no output mode, or there is no command.
        """
        role, texts, scope = self._task(index, specials, overlay)
        try:
            value = texts.command.evaluate(scope)
            arguments = [text if isinstance(text, str) else text.evaluate(scope) for text in texts.arguments]
            environment = [text.evaluate(scope) for text in texts.environment]
            user = texts.user.evaluate(scope)
            cwd = texts.cwd.evaluate(scope)
            stdout = _output("stdout", texts.stdout.evaluate(scope))
            stderr = _output("stderr", texts.stderr.evaluate(scope))
            if not value.strip():
                raise TemplateError("the command is empty text")
        except TemplateError as error:
            raise self._error(error, role) from None
        arguments.extend(extra_arguments)
        shell = self._class(role).shell
        argv = ("/bin/sh", "-c", " ".join([value.rstrip("\n"), *arguments])) if shell else (value, *arguments)
        return Command(
            argv=argv,
            shell=shell,
            environment=dict(_assignment(entry) for entry in environment),
            user=user.strip(),
            cwd=cwd.strip(),
            stdout=stdout,
            stderr=stderr,
        )

    def endpoint(self, index: int, specials: Mapping[str, str], overlay: Overlay = _NO_OVERLAY) -> str:
        """Return the control endpoint of an attached task, "" for one that we launch. Raises as `command`."""
        role, _, scope = self._task(index, specials, overlay)
        task_class = self._class(role)
        if not task_class.endpoint:
            return ""
        try:
            return compile_text(task_class.endpoint, _mark(task_class)).evaluate(scope)
        except TemplateError as error:
            raise self._error(error, role) from None

    def properties(
        self,
        index: int,
        specials: Mapping[str, str],
        overlay: Overlay = _NO_OVERLAY,
        channels: Mapping[str, str] = _NOTHING,
    ) -> dict[str, str]:
        """Return what CONFIGURE tells a task: environment, properties of its class, `channels`; nothing to basic ones.

        Raises:
            TemplateError: a text can't be evaluated.
        """
        if not has_channels(self.workflow.roles[index]):
            return {}
        role, texts, scope = self._task(index, specials, overlay)
        trees: dict[str, str] = {}
        if texts.makes_trees:
            scope = scope.with_functions(with_trees(self._functions, trees))
        result = {"environment_id": specials.get("environment_id", "")}
        try:
            result.update(texts.properties)
            for name, text in texts.late_properties:
                result[name] = text.evaluate(scope)
            result.update(trees)
            if _ORBIT_RESET_SOURCE in scope:
                result["orbit-reset-time"] = str(scope.lookup(_ORBIT_RESET_SOURCE))
            result.update(channels)
            for name, value in channels.items():
                if "{{" in value:
                    result[name] = compile_text(value, None).evaluate(scope)
        except TemplateError as error:
            raise self._error(error, role) from None
        return result

    def preview(self, index: int, text: str) -> str:
        """Return a late text as it would be now, or as it is written if it needs what is known only later."""
        if "{{" not in text:
            return text
        place = self._place(index)
        task = self.workflow.roles[index].task
        lazy = LazyTexts(self._texts(task.class_name).variables) if task is not None else None
        scope = RoleScope(place.stack.tables, self._functions, place.parent, place.ref, lazy)
        try:
            return compile_text(text, None).evaluate(scope)
        except TemplateError:
            return text

    # --------------------------------------------------------------------------------------------- runs

    def start_arguments(self, run_number: int, cleanup: int, overlay: Overlay = _NO_OVERLAY) -> dict[str, str]:
        """Return what START tells every task. Values are those of the root."""
        root = {**self.stack(0).consolidated(overlay), "run_number": str(run_number)}
        return {"cleanup": str(cleanup), **_both_spellings(root, START_VARIABLES)}

    def stop_arguments(self, overlay: Overlay = _NO_OVERLAY) -> dict[str, str]:
        """Return what STOP tells every task. Values are those of the root."""
        return _both_spellings(self.stack(0).consolidated(overlay), STOP_VARIABLES)

    # --------------------------------------------------------------------------------------------- calls

    def call(self, index: int, environment_id: str, overlay: Overlay = _NO_OVERLAY) -> PlacedCall:
        """Return the call of role number `index` as it is to be made now.

        Raises:
            TemplateError: an argument can't be evaluated.
        """
        role = self.workflow.roles[index]
        assert role.call is not None, f"{role.path} is no call"
        specials = call_specials(role, role.call, environment_id)
        place = self._place(index)
        tables = (specials, *place.stack.runtime(overlay), *place.stack.tables)
        scope = RoleScope(tables, self._functions, place.parent, place.ref)
        try:
            call = parse_call(role.call.func, scope)
        except TemplateError as error:
            raise self._error(error, role) from None
        return PlacedCall(call=call, variables=self.variables(index, overlay, specials))

    # --------------------------------------------------------------------------------------------- inside

    def _task(self, index: int, specials: Mapping[str, str], overlay: Overlay) -> tuple[Role, _ClassTexts, RoleScope]:
        role = self.workflow.roles[index]
        assert role.task is not None, f"{role.path} is no task"
        texts = self._texts(role.task.class_name)
        place = self._place(index)
        tables = (specials, *place.stack.runtime(overlay), *place.stack.tables)
        return role, texts, RoleScope(tables, self._functions, place.parent, place.ref, LazyTexts(texts.variables))

    def _class(self, role: Role) -> TaskClass:
        assert role.task is not None, f"{role.path} is no task"
        return self.workflow.classes[role.task.class_name]

    def _place(self, index: int) -> _Place:
        place = self._places.get(index)
        if place is not None:
            return place
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        role = self.workflow.roles[index]
        parent = self._place(role.parent) if role.parent >= 0 else None
        above = parent.stack if parent else Stack(self._base)
        place = _Place(
            RoleRef(name=role.name, path=role.path),
            parent,
            above.child(role.path, defaults=role.defaults, vars=role.vars),
        )
        if role.task is None:  # a task is asked a few times in a row, its ancestors by all tasks below them
            self._places[index] = place
        else:
            self._last = (index, place)
        return place

    def _texts(self, class_name: str) -> _ClassTexts:
        texts = self._classes.get(class_name)
        if texts is not None:
            return texts
        task_class = self.workflow.classes[class_name]
        mark = _mark(task_class)

        def compiled(items: Mapping[str, str]) -> dict[str, Text]:
            return {name: compile_text(text, mark) for name, text in items.items()}

        properties = compiled(task_class.properties)
        texts = self._classes[class_name] = _ClassTexts(
            compiled({**task_class.defaults, **task_class.vars}),
            compile_text(task_class.command, mark),
            _words([compile_text(text, mark) for text in task_class.arguments], task_class.shell),
            tuple(compile_text(text, mark) for text in task_class.environment),
            compile_text(task_class.user, mark),
            compile_text(task_class.cwd, mark),
            compile_text(task_class.stdout, mark),
            compile_text(task_class.stderr, mark),
            task_class.properties,
            tuple((name, text) for name, text in properties.items() if not text.is_literal),
            any(_TO_TREE in text.calls for text in properties.values()),
        )
        return texts

    def _error(self, error: TemplateError, role: Role) -> TemplateError:
        task_class = self.workflow.classes[role.task.class_name] if role.task else None
        return error.at(file=task_class.file if task_class else role.file, path=role.path)


def late_functions(snapshot: Tree | None = None) -> FunctionTable:
    """Return the functions for late texts. Without a snapshot those of the configuration find nothing.

    There are no fresh ids, and nothing is written: a text must give the same each time it is evaluated, also after a
    restart.
    """

    def no_id() -> str:
        raise ExpressionError(
            "uid.New() would give another id each time this text is evaluated", hint="call it in the `vars` of a role"
        )

    table = functions(pure_functions(no_id), Services(snapshot or Tree(), {}, {}, {}))
    no_set = refused("runtime.Set works only where a workflow is loaded", "call it in the `vars` of a role")
    return table.replaced({"runtime.Set": no_set})


def task_specials(role: Role, *, task_id: str, host: str, environment_id: str) -> dict[str, str]:
    """Return the variables that only a task has."""
    class_name = role.task.class_name if role.task else ""
    return {
        "task_name": f"{class_name}#{task_id}",
        "task_id": task_id,
        "task_class_name": class_name,
        "task_hostname": host,
        "environment_id": environment_id,
        "task_parent_role": role.path,
    }


def call_specials(role: Role, call: CallTraits, environment_id: str) -> dict[str, str]:
    """Return the variables that only a call has."""
    trigger, await_ = call.trigger, call.await_ or call.trigger
    return {
        "environment_id": environment_id,
        "__call_func": call.func,
        "__call_timeout": format_duration(call.timeout_s),
        "__call_trigger": str(trigger) if trigger else "",
        "__call_await": str(await_) if await_ else "",
        "__call_critical": "true" if role.critical else "false",
        "__call_rolepath": role.path,
    }


def camel(name: str) -> str:
    """Return the lowerCamelCase spelling of a snake_case name."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _both_spellings(variables: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    found = {name: variables[name] for name in names if name in variables}
    return {**found, **{camel(name): value for name, value in found.items()}}


def _words(texts: Iterable[Text], joined: bool) -> tuple[str | Text, ...]:
    """Return literal texts as strings, neighbours joined by a blank if they end up so anyhow."""
    words: list[str | Text] = []
    for text in texts:
        last = words[-1] if words else None
        if not text.is_literal:
            words.append(text)
        elif joined and isinstance(last, str):
            words[-1] = f"{last} {text.source}"
        else:
            words.append(text.source)
    return tuple(words)


def _output(name: str, text: str) -> str:
    mode = text.strip().lower()
    if mode not in OUTPUTS:
        raise TemplateError(f"`{name}` is {text!r}", hint=f"it must become one of {', '.join(OUTPUTS)}")
    return mode


def _assignment(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name.strip(), value


def _mark(task_class: TaskClass) -> Mark:
    return Mark(task_class.file, 0, 0)
