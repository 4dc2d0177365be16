"""What tasks and integrations are given: commands, properties, arguments, variables of calls."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING

from libecs.engine.effects import Call
from libecs.engine.runs import RUN_DIR, starts
from libecs.errors import InvalidInput, TemplateError
from libecs.fsm import Mode, TaskEvent
from libecs.language.duration import parse_duration
from libecs.language.expression import to_text
from libecs.language.variables import Overlay
from libecs.wire.node import Command, TaskSpec
from libecs.workflow import channels, launch
from libecs.workflow.role import Moment

if TYPE_CHECKING:
    from libecs.engine.environment import Environment
    from libecs.engine.placement import Placed
    from libecs.engine.plan import Step
    from libecs.engine.task import Task


ENVIRONMENT_ID = "environment_id"
TREE = "__ptree__:"
"""How the names of properties that are whole trees begin."""
START_S = 45.0
"""Seconds from the launch of a task until it is ready, where its template says nothing."""
RUN_NUMBER = "run_number"
"""As RUN_DIR, a variable that exists while a run goes on. The texts of a basic task are sent before: there both stand
for themselves, and the executor puts in what START brings."""


def spec(env: Environment, index: int, task_id: str) -> TaskSpec:
    """Return all that an executor must know of a task.

    Raises:
        TemplateError: a text of the task template can't be evaluated.
    """
    workflow, launcher = env.expanded
    role = workflow.roles[index]
    assert role.task is not None
    task_class = workflow.classes[role.task.class_name]
    specials = _specials(env, index, task_id)
    endpoint = launcher.endpoint(index, specials, env.record.overlay)
    told = Command(argv=())
    if not endpoint:
        made = command(env, index, task_id)
        told = Command(
            argv=made.argv,
            environment={"O2_ROLE": env.cast.placed[index].node, "O2_SYSTEM": "FLP", **made.environment},
            user=made.user,
            stdout=made.stdout,
            stderr=made.stderr,
            cwd=made.cwd,
        )
    return TaskSpec(
        task=task_id,
        environment=env.id,
        role=role.path,
        class_name=task_class.name,
        mode=Mode.HOOK if role.task.trigger is not None else role.task.mode,
        critical=role.critical,
        command=told,
        endpoint=endpoint,
        attached=bool(endpoint),
        limits=task_class.limits,
        timeout_s=role.task.timeout_s,
        liveness=task_class.liveness,
        stop_signal=_signal_number(task_class.stop),
        start_s=start_s(env, env.cast.by_role[index]),
        exit_is_error=task_class.on_exit == "error",
        exit_s=task_class.transition_s.get("EXIT", 0.0),
        stop_s=task_class.stop_s or task_class.transition_s.get("STOP", 0.0),
    )


def command_digest(env: Environment, index: int, spec: TaskSpec) -> str:
    """Return by what the command of a task that is launched now compares with others. Raises TemplateError."""
    told = spec.command
    text = _command_text(env, index, told.argv, told.environment, (told.user, told.cwd, told.stdout, told.stderr))
    if spec.task in text or env.id in text:  # ids differ in each use
        placed = env.cast.placed[index]
        return fresh_digest(env, index, placed.node, placed.host)
    return _short_digest(text)


def fresh_digest(env: Environment, index: int, node: str, host: str) -> str:
    """Return the same of the command that a task of a role would be launched with on a node, "" if it has none."""
    workflow, launcher = env.expanded
    specials = launch.task_specials(workflow.roles[index], task_id="", host=host, environment_id="")
    if not env.record.run_number and not _has(env, index, RUN_DIR):
        specials[RUN_DIR] = ""
    try:
        made = launcher.command(index, specials, env.record.overlay)
    except TemplateError:
        return ""
    environment = {"O2_ROLE": node, "O2_SYSTEM": "FLP", **made.environment}
    return _short_digest(
        _command_text(env, index, made.argv, environment, (made.user, made.cwd, made.stdout, made.stderr))
    )


def _command_text(
    env: Environment, index: int, argv: Iterable[str], environment: Mapping[str, str], more: Iterable[str]
) -> str:
    limits = env.cast.task_class(index).limits
    names = sorted(environment)
    numbers = (limits.cpu, limits.memory_mb, *limits.ports)
    return "\0".join((*argv, "", *chain(*((name, environment[name]) for name in names)), *more, *map(str, numbers)))


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def attached_address(env: Environment, placed: Placed) -> str:
    """Return the endpoint of a task that somebody else starts, "" if it is none of those, or has none."""
    _, launcher = env.expanded
    if not env.cast.task_class(placed.role).endpoint:
        return ""
    role = env.role(placed.role)
    specials = launch.task_specials(role, task_id=placed.task, host=placed.host, environment_id=env.id)
    try:
        return launcher.endpoint(placed.role, specials, env.record.overlay)
    except TemplateError:
        return ""  # launching says what is wrong with it


def start_s(env: Environment, task: Task) -> float:
    """Return the seconds that a task has from its launch until it is ready."""
    return env.cast.task_class(task.role).transition_s.get("DEPLOY", START_S)


def command(env: Environment, index: int, task_id: str, overlay: Overlay | None = None) -> launch.Command:
    """Return how a task is started: with other runtime variables than those of now, if such are given.

    Raises:
        TemplateError: a text of the task template can't be evaluated.
    """
    _, launcher = env.expanded
    role = env.role(index)
    specials = _specials(env, index, task_id)
    assert role.task is not None
    if role.task.trigger is None and role.task.mode is Mode.BASIC:
        names = (RUN_DIR, RUN_NUMBER) if env.runs_folder else (RUN_NUMBER,)
        specials.update({name: f"{{{{{name}}}}}" for name in names if not _has(env, index, name)})
    try:
        return launcher.command(index, specials, env.record.overlay if overlay is None else overlay)
    except TemplateError as error:
        if RUN_DIR in error.message and not env.runs_folder:
            hint = "name a folder for runs where this control system is made"
            raise TemplateError(
                f"there is no {RUN_DIR}: this control system has no folder for runs",
                file=error.file,
                line=error.line,
                path=error.path,
                hint=hint,
            ) from None
        raise


def configuration(
    env: Environment, task: Task, overlay: Overlay | None = None, overrides: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """Return the properties that CONFIGURE gives to a task: with other runtime variables and overrides than those of
    now, if such are given.

    Raises:
        TemplateError: a property can't be evaluated, or a channel leads nowhere.
    """
    _, launcher = env.expanded
    specials = _specials(env, task.role, task.id)
    overlay = env.record.overlay if overlay is None else overlay
    made = launcher.properties(task.role, specials, overlay, channel_properties(env, task))
    overrides = env.record.properties.get(task.path) if overrides is None else overrides
    if overrides and made:
        made = {**made, **overrides}
        used = {value for value in made.values() if value.startswith(TREE)}  # a tree nobody names any more is not sent
        made = {name: value for name, value in made.items() if not name.startswith(TREE) or name in used}
    return made


def channel_properties(env: Environment, task: Task) -> Mapping[str, str]:
    """Return what a task is told of its channels. Raises TemplateError."""
    if env.cast.wiring is None:
        workflow, _ = env.expanded
        # who connects to what is excluded now may go on doing so: the address is kept for it
        places = {**env.away, **env.cast.placed} if env.away else env.cast.placed
        env.cast.wiring = channels.Wiring(workflow, partial(_endpoint, places), env.cast.may_lack)
    return env.cast.wiring.properties(task.role) or {}


def exit_s(env: Environment, task: Task) -> float:
    """Return the seconds that a task has for each step of its way out, 0 = the usual ones."""
    return env.cast.task_class(task.role).transition_s.get("EXIT", 0.0)


def digest(properties: Mapping[str, str], task_id: str) -> str:
    """Return the SHA-256 of properties, whatever their order, so that equal ones compare equal in another environment:
    without its id and the task's, and without the addresses of channels, which are where there was room.
    """
    names = _in_order(tuple(properties))
    text = "\0".join(chain.from_iterable(zip(names, map(properties.__getitem__, names), strict=True)))
    for id in (task_id, properties.get(ENVIRONMENT_ID, "")):
        if id and id in text:
            text = text.replace(id, "")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of properties sorted that count in a digest. Tasks of a class have the same names."""

    def counts(name: str) -> bool:
        return name != ENVIRONMENT_ID and not (name.startswith("chans.") and name.endswith(".address"))

    return tuple(sorted(filter(counts, names)))


def arguments(env: Environment, event: TaskEvent) -> Mapping[str, str]:
    """Return the arguments that an event gives to all tasks."""
    _, launcher = env.expanded
    if event is TaskEvent.START:
        told = launcher.start_arguments(env.record.run_number, starts(env), env.record.overlay)
        folder = env.run_folder
        return {**told, RUN_DIR: folder} if folder else told
    if event is TaskEvent.STOP:
        return launcher.stop_arguments(env.record.overlay)
    return {}


def call(env: Environment, index: int, call_id: str, step: Step) -> Call:
    """Return the call that a call role makes now.

    Raises:
        TemplateError: an argument can't be evaluated.
    """
    workflow, launcher = env.expanded
    role = workflow.roles[index]
    assert role.call is not None
    made = launcher.call(index, env.id, env.record.overlay)
    return Call(
        call=call_id,
        function=f"{made.call.integration}.{made.call.method}",
        arguments=tuple(to_text(argument) for argument in made.call.arguments),
        variables=made.variables,
        timeout_s=role.call.timeout_s,
        environment=env.id,
        role=role.path,
        moment=str(Moment(name=step.moment, weight=step.weight)),
        await_moment=str(role.call.await_ or role.call.trigger or ""),
        run_number=env.record.run_number,
    )


def duration(env: Environment, name: str, default: float) -> float:
    """Return a variable of the root role that is a duration, in seconds; the default if it is absent or none."""
    _, launcher = env.expanded
    text = launcher.stack(0).consolidated(env.record.overlay).get(name, "")
    try:
        return parse_duration(text) if text else default
    except InvalidInput:
        return default


def _specials(env: Environment, index: int, task_id: str) -> dict[str, str]:
    workflow, _ = env.expanded
    host = env.cast.placed[index].host if index in env.cast.placed else ""
    specials = launch.task_specials(workflow.roles[index], task_id=task_id, host=host, environment_id=env.id)
    task = env.cast.by_role[index]
    if not task.hook and task.mode is not Mode.BASIC and not env.record.run_number and not _has(env, index, RUN_DIR):
        specials[RUN_DIR] = ""  # told by START, too late for texts
    return specials


def _has(env: Environment, index: int, name: str) -> bool:
    """Whether the workflow itself gives a variable to a role."""
    _, launcher = env.expanded
    return launcher.stack(index).get(name) is not None


def _endpoint(placed: Mapping[int, Placed], index: int, name: str) -> channels.Endpoint | None:
    """Return where an inbound channel is. A task on a loopback host binds there and nowhere else: what nobody else may
    reach is not offered to them.
    """
    one = placed.get(index)
    address = one.endpoints.get(name) if one is not None else None
    if one is None or address is None:
        return None
    if address.startswith("tcp://") and not one.host.startswith("127."):
        return channels.Endpoint(bind=f"tcp://*:{address.rpartition(':')[2]}", connect=address)
    return channels.Endpoint(bind=address, connect=address)


def _signal_number(name: str) -> int:
    """Return the number of SIGINT, INT or 2; SIGKILL for nothing."""
    if not name:
        return int(signal.SIGKILL)
    if name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    try:
        return int(signal.Signals[full])
    except KeyError:
        raise InvalidInput(f"{name!r} is no signal", hint="write SIGINT or SIGTERM, for instance") from None
