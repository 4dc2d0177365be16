"""Task templates: how a kind of task is launched, controlled and connected.

Texts stay as they are written: they are evaluated when a task is launched and configured. They are compiled here all
the same, so that a wrong expression is found when the template is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingOf

import attrs

from libecs.language.expression import compile_text
from libecs.language.fields import (
    ChannelTemplate,
    ConstraintTemplate,
    Finding,
    Reader,
    Severity,
    check_name,
    parse_template,
)
from libecs.language.marks import Mark
from libecs.language.yaml import Mapping, Node, Scalar, Sequence

MODES = ("direct", "fairmq", "basic", "hook")
_FOREIGN_MODES = ("kubectl_direct", "kubectl_fairmq", "kubernetes_direct", "kubernetes_fairmq")
TASK_EVENTS = ("DEPLOY", "CONFIGURE", "RECONFIGURE", "RESET", "START", "STOP", "EXIT", "RECOVER")
"""Keys of `timeouts`. DEPLOY is no event of a task: it is the time from its launch until it can be controlled."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")
_KEYS = ("name", "description", "defaults", "vars", "control", "command", "wants", "limits")
_ROLE_KEYS = ("bind", "connect", "properties", "constraints")
_ADDED_KEYS = ("liveness", "on_exit", "reconfigure", "stop", "timeouts")
"""Keys that AliECS does not know."""
_COMMAND_KEYS = ("env", "shell", "value", "user", "arguments", "stdout", "stderr", "log", "cwd")
_PORTS = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_MAX_PORT = 65535


@attrs.frozen(kw_only=True)
class Resources:
    """What a task wants or may use at most: CPUs, MB of memory, fixed TCP ports. 0 = nothing said."""

    cpu: float = 0.0
    memory_mb: float = 0.0
    ports: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class TaskTemplate:
    """A task template file."""

    name: str
    mode: str = "direct"
    """direct, fairmq, basic or hook."""
    endpoint: str = ""
    """`tcp://host:port` of a process that somebody else starts; then `command` is not needed."""
    defaults: MappingOf[str, str] = attrs.field(factory=dict)
    vars: MappingOf[str, str] = attrs.field(factory=dict)
    command: str = ""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    user: str = ""
    cwd: str = ""
    """Folder in which the command runs, "" for the usual one. AliECS does not know it."""
    shell: bool = False
    stdout: str = "none"
    stderr: str = "none"
    wants: Resources = attrs.field(factory=Resources)
    limits: Resources = attrs.field(factory=Resources)
    properties: MappingOf[str, str] = attrs.field(factory=dict)
    bind: tuple[ChannelTemplate, ...] = ()
    connect: tuple[ChannelTemplate, ...] = ()
    constraints: tuple[ConstraintTemplate, ...] = ()
    liveness: bool = False
    reconfigure: str = "reset"
    """live or reset."""
    stop: str = ""
    """Name of the signal that asks a basic task to end, "" for the usual one."""
    stop_s: float = 0.0
    """Seconds from that signal to SIGKILL, 0 = the usual ones."""
    on_exit: str = ""
    """`error`: a basic task that ends by itself is broken, whatever its exit code. "": a clean end is the end of its
    stream."""
    transition_s: MappingOf[str, float] = attrs.field(factory=dict)
    """Task event to its deadline in seconds."""
    mark: Mark
    findings: tuple[Finding, ...] = ()
    file: str = ""


def read_task(text: str | bytes, file: str, *, name: str | None = None) -> TaskTemplate:
    """Read a task template.

    Args:
        text: the file's content.
        file: its name as the user knows it, for messages.
        name: what its `name` must be, the name of the file; None: any.

    Raises:
        TemplateError: it is not YAML, or not a task template, at file:line:column.
    """
    root = parse_template(text, file).expect_mapping("a task template")
    reader = Reader()
    found = check_name(root, "the task template", name)
    what = f"task {found!r}"
    if "roles" in root:
        raise root.mark.error(f"{file} is a workflow template", hint="load it by `include:`")
    reader.check_keys(root, _KEYS + _ROLE_KEYS + _ADDED_KEYS, what)
    control, command = _section(root, "control", what), _section(root, "command", what)
    if control is not None:
        reader.check_keys(control, ("mode", "endpoint"), f"`control` of {what}")
    if command is not None:
        reader.check_keys(command, _COMMAND_KEYS, f"`command` of {what}")
    endpoint = _templated(reader, control, "endpoint", what)
    value = _templated(reader, command, "value", what)
    if not endpoint and not value:
        raise root.mark.error(f"{what} has neither `command: {{value: …}}` nor `control: {{endpoint: …}}`")
    stop, stop_s = _stop(reader, root, what)
    mode = _mode(reader, control, what)
    on_exit = reader.choice(root, "on_exit", what, ("error", "drop"), "")
    _check_ends(reader, root, mode, on_exit, what)
    return TaskTemplate(
        name=found,
        mode=mode,
        endpoint=endpoint,
        defaults=_texts(reader, root, "defaults", what),
        vars=_texts(reader, root, "vars", what),
        command=value,
        arguments=_list(reader, command, "arguments", what),
        environment=_environment(reader, command, what),
        user=_templated(reader, command, "user", what),
        cwd=_templated(reader, command, "cwd", what),
        shell=reader.boolean(command, "shell", what, False) if command is not None else False,
        stdout=_output(reader, command, what),
        stderr=_templated(reader, command, "stderr", what) or "none",
        wants=_resources(reader, root, "wants", what),
        limits=_resources(reader, root, "limits", what),
        properties=_texts(reader, root, "properties", what),
        bind=reader.channels(root, "bind", what),
        connect=_outbound(reader, root, what),
        constraints=reader.constraints(root, what),
        liveness=reader.boolean(root, "liveness", what, False),
        reconfigure=reader.choice(root, "reconfigure", what, ("live", "reset"), "reset"),
        stop=stop,
        stop_s=stop_s,
        on_exit=on_exit,
        transition_s=_deadlines(reader, root, what),
        mark=root.mark,
        findings=tuple(reader.findings),
        file=file,
    )


def _section(root: Mapping, key: str, what: str) -> Mapping | None:
    node = root.get(key)
    if node is None or (isinstance(node, Scalar) and node.is_null):
        return None
    return node.expect_mapping(f"`{key}` of {what}")


def _templated(reader: Reader, section: Mapping | None, key: str, what: str) -> str:
    return reader.template(section, key, what).source if section is not None else ""


def _mode(reader: Reader, control: Mapping | None, what: str) -> str:
    if control is None:
        return "direct"
    if reader.text(control, "mode", what).strip().lower() in _FOREIGN_MODES:
        node = control.require("mode", what)
        raise node.mark.error(
            f"{what} has the control mode {reader.text(control, 'mode', what)!r}: Kubernetes is not supported",
            hint=f"supported modes: {', '.join(MODES)}",
        )
    return reader.choice(control, "mode", what, MODES, "direct")


def _texts(reader: Reader, root: Mapping, key: str, what: str) -> dict[str, str]:
    return {variable.name: variable.text.source for variable in reader.variables(root, key, what)}


def _list(reader: Reader, command: Mapping | None, key: str, what: str) -> tuple[str, ...]:
    if command is None:
        return ()
    found = []
    for node in reader.sequence(command, key, what):
        scalar = node.expect_scalar(f"an entry of `{key}` of {what}")
        found.append(compile_text("" if scalar.is_null else scalar.text, scalar.mark).source)
    return tuple(found)


def _environment(reader: Reader, command: Mapping | None, what: str) -> tuple[str, ...]:
    entries = _list(reader, command, "env", what)
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if "{{" not in name and (not equals or not name.strip()):
            assert command is not None, "there are entries"
            raise command.require("env", what).mark.error(
                f"`env` of {what} has the entry {entry!r}", hint="write each as NAME=value"
            )
    return entries


def _output(reader: Reader, command: Mapping | None, what: str) -> str:
    """Return `stdout`, or the deprecated `log` that means the same."""
    stdout, log = _templated(reader, command, "stdout", what), _templated(reader, command, "log", what)
    if log and command is not None:
        key = command.key("log")
        ignored = " and ignored, because `stdout` is there" if stdout else ""
        reader.note(
            key.mark if key else command.mark,
            f"`log` of {what} is deprecated{ignored}",
            "deprecated",
            severity=Severity.HINT,
            hint="write `stdout`",
        )
    return stdout or log or "none"


def _outbound(reader: Reader, root: Mapping, what: str) -> tuple[ChannelTemplate, ...]:
    channels = []
    for channel in reader.channels(root, "connect", what):
        if channel.target.source:
            reader.note(
                channel.mark,
                f"the target of channel {channel.name!r} is ignored: a task template can't know it",
                "ignored",
                hint="write it under `connect:` of the role",
            )
        channels.append(attrs.evolve(channel, target=compile_text("", channel.mark)))
    return tuple(channels)


def _resources(reader: Reader, root: Mapping, key: str, what: str) -> Resources:
    section = _section(root, key, what)
    if section is None:
        return Resources()
    known = ("cpu", "memory", "ports") if key == "wants" else ("cpu", "memory")
    reader.check_keys(section, known, f"`{key}` of {what}")
    ports: set[int] = set()
    node = section.get("ports") if key == "wants" else None
    if node is not None:
        ports = _ports(node, what)
    return Resources(
        cpu=reader.number(section, "cpu", f"`{key}` of {what}"),
        memory_mb=reader.number(section, "memory", f"`{key}` of {what}"),
        ports=tuple(sorted(ports)),
    )


def _ports(node: Node, what: str) -> set[int]:
    if isinstance(node, Sequence):
        texts = [item.expect_scalar("a port").text for item in node]
    else:
        scalar = node.expect_scalar(f"`ports` of {what}")
        texts = [] if scalar.is_null else scalar.text.split(",")
    ports: set[int] = set()
    for text in texts:
        match = _PORTS.fullmatch(text.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if not 0 < first <= last <= _MAX_PORT:
            raise node.mark.error(
                f"`ports` of {what}: {text.strip()!r} is no port and no range of ports",
                hint='write it like "8080, 9000-9010"',
            )
        ports.update(range(first, last + 1))
    return ports


def _stop(reader: Reader, root: Mapping, what: str) -> tuple[str, float]:
    """Return signal and seconds of `stop: SIGINT` or `stop: {signal: SIGINT, timeout: 5s}`."""
    section = root.get("stop")
    if not isinstance(section, Mapping):
        return _signal(reader, root, "stop", f"`stop` of {what}"), 0.0
    what = f"`stop` of {what}"
    reader.check_keys(section, ("signal", "timeout"), what)
    timeout = section.get("timeout")
    seconds = reader.duration(timeout, f"`timeout` of {what}") if timeout is not None else 0.0
    return _signal(reader, section, "signal", f"`signal` of {what}"), seconds


def _signal(reader: Reader, section: Mapping, key: str, what: str) -> str:
    text = reader.text(section, key, what).strip().upper()
    if not text:
        return ""
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name not in SIGNALS:
        raise section.require(key, what).mark.error(
            f"{what} is {text!r}", hint=f"a signal, one of {', '.join(SIGNALS)}"
        )
    return name


def _check_ends(reader: Reader, root: Mapping, mode: str, on_exit: str, what: str) -> None:
    """Note what is said about the end of a program to tasks that end by a command of the control system."""
    if mode in ("basic", "hook"):
        return
    for key, instead in (("on_exit", "its end is an error anyhow"), ("stop", "it is told to stop by STOP")):
        name = root.key(key)
        if name is not None and not (key == "on_exit" and on_exit == "drop"):
            reader.note(
                name.mark, f"`{key}` of {what} is ignored: a {mode} task is no plain program", "ignored", hint=instead
            )


def _deadlines(reader: Reader, root: Mapping, what: str) -> dict[str, float]:
    section = _section(root, "timeouts", what)
    if section is None:
        return {}
    found = {}
    for key, value in section:
        if key.text not in TASK_EVENTS:
            raise key.mark.error(
                f"`timeouts` of {what} has the event {key.text!r}", hint=f"events: {', '.join(TASK_EVENTS)}"
            )
        found[key.text] = reader.duration(value, f"`timeouts` of {what}")
    return found
