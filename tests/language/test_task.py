"""Reading task templates: every field, and errors at their place."""

from __future__ import annotations

import pytest

from libecs.errors import TemplateError
from libecs.language.task import Resources, TaskTemplate, read_task


def read(text: str, **options: str) -> TaskTemplate:
    return read_task(text, "t.yaml", **options)


def body(text: str) -> TaskTemplate:
    return read(f"name: t\ncommand: {{value: x}}\n{text}")


def test_a_task_with_everything() -> None:
    task = read(
        """\
name: t
defaults: {a: 1, b: !public {value: "2"}}
vars: {c: "{{ a }}"}
control: {mode: FairMQ}
command:
  value: "{{ a }}"
  arguments: [--x, "{{ b }}", ]
  env: ["A={{ a }}", "{{ whole }}"]
  shell: true
  user: "{{ user }}"
  cwd: "/data/{{ a }}"
  stdout: all
  stderr: "{{ log }}"
wants: {cpu: 0.15, memory: 128, ports: "8080, 9000-9002"}
limits: {cpu: "2", memory: 4096}
bind: [{name: i, type: push, global: "g-{{ it }}"}]
connect: [{name: o, type: pull}]
properties: {p: "{{ a }}", q: 1}
constraints: [{attribute: x, value: y}]
liveness: true
reconfigure: live
stop: int
timeouts: {CONFIGURE: 2m, START: 10s}
""",
        name="t",
    )

    assert (task.name, task.mode) == ("t", "fairmq")
    assert (task.defaults, task.vars) == ({"a": "1", "b": "2"}, {"c": "{{ a }}"})
    assert (task.command, task.arguments) == ("{{ a }}", ("--x", "{{ b }}"))
    assert task.environment == ("A={{ a }}", "{{ whole }}")
    assert (task.shell, task.user, task.stdout, task.stderr) == (True, "{{ user }}", "all", "{{ log }}")
    assert task.cwd == "/data/{{ a }}"
    assert task.wants == Resources(cpu=0.15, memory_mb=128.0, ports=(8080, 9000, 9001, 9002))
    assert task.limits == Resources(cpu=2.0, memory_mb=4096.0)
    assert [channel.global_.source for channel in task.bind] == ["g-{{ it }}"]
    assert [channel.name for channel in task.connect] == ["o"]
    assert task.properties == {"p": "{{ a }}", "q": "1"}
    assert [(item.attribute, item.value.source) for item in task.constraints] == [("x", "y")]
    assert (task.liveness, task.reconfigure, task.stop) == (True, "live", "SIGINT")
    assert task.transition_s == {"CONFIGURE": 120.0, "START": 10.0}
    assert [finding.code for finding in task.findings] == ["ignored"]  # `stop` of a FairMQ task


def test_defaults() -> None:
    task = body("")

    assert (task.mode, task.shell, task.user, task.stdout, task.stderr) == ("direct", False, "", "none", "none")
    assert (task.wants, task.limits) == (Resources(), Resources())
    assert (task.liveness, task.reconfigure, task.stop, task.transition_s) == (False, "reset", "", {})


@pytest.mark.parametrize("mode", ["direct", "fairmq", "basic", "hook"])
def test_modes(mode: str) -> None:
    assert body(f"control: {{mode: {mode}}}").mode == mode


def test_an_attached_task_needs_no_command() -> None:
    assert read("{name: t, control: {endpoint: 'tcp://board:47100'}}").endpoint == "tcp://board:47100"


def test_log_is_stdout_in_old_templates() -> None:
    old = read("{name: t, command: {value: x, log: all}}")
    both = read("{name: t, command: {value: x, log: all, stdout: stdout}}")

    assert (old.stdout, both.stdout) == ("all", "stdout")
    assert [str(finding).partition(": ")[2] for finding in old.findings] == [
        "`log` of task 't' is deprecated; write `stdout`"
    ]
    assert "ignored, because `stdout` is there" in both.findings[0].message


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", ()),
        ("8080", (8080,)),
        ("'9000 - 9002'", (9000, 9001, 9002)),
        ("[1, '5-6']", (1, 5, 6)),
        ("'3,1,2,2'", (1, 2, 3)),
    ],
)
def test_ports(text: str, ports: tuple[int, ...]) -> None:
    assert body(f"wants: {{ports: {text}}}").wants.ports == ports


def test_the_target_of_a_channel_is_ignored_with_a_finding() -> None:
    task = body("connect: [{name: o, type: pull, target: x}]")

    assert task.connect[0].target.source == ""
    assert "the target of channel 'o' is ignored" in task.findings[0].message


def test_unknown_keys_are_findings() -> None:
    task = read("{name: t, commands: x, control: {mod: x}, command: {value: x, args: []}, wants: {cpus: 1}}")

    assert [finding.message.split(" is ignored")[0] for finding in task.findings] == [
        "unknown key 'commands' in task 't'",
        "unknown key 'mod' in `control` of task 't'",
        "unknown key 'args' in `command` of task 't'",
        "unknown key 'cpus' in `wants` of task 't'",
    ]


@pytest.mark.parametrize("signal", ["SIGTERM", "term", "Int", "SIGUSR1"])
def test_signals(signal: str) -> None:
    assert body(f"stop: {signal}").stop == "SIG" + signal.upper().removeprefix("SIG")


def test_a_stop_may_say_how_long_it_takes() -> None:
    task = body("stop: {signal: int, timeout: 5s}")

    assert (task.stop, task.stop_s) == ("SIGINT", 5.0)
    assert (body("stop: {timeout: 1m}").stop, body("stop: {timeout: 1m}").stop_s) == ("", 60.0)
    assert body("stop: SIGINT").stop_s == 0.0
    assert "unknown key 'wait' in `stop` of task 't'" in body("stop: {wait: 5s}").findings[0].message


def test_what_the_end_of_a_basic_task_means() -> None:
    assert body("liveness: false").on_exit == ""
    assert body("on_exit: Error").on_exit == "error"


def test_ends_of_plain_programs_mean_nothing_to_controlled_tasks() -> None:
    def findings(mode: str) -> list[str]:
        return [f.message for f in body(f"on_exit: error\nstop: SIGINT\ncontrol: {{mode: {mode}}}").findings]

    assert findings("basic") == findings("hook") == []
    assert findings("fairmq") == [
        "`on_exit` of task 't' is ignored: a fairmq task is no plain program",
        "`stop` of task 't' is ignored: a fairmq task is no plain program",
    ]


@pytest.mark.parametrize("mode", ["direct", "fairmq", "basic"])
def test_a_task_of_any_mode_may_be_dropped(mode: str) -> None:
    task = body(f"on_exit: drop\ncontrol: {{mode: {mode}}}")
    assert (task.on_exit, task.findings) == ("drop", ())


def test_deadlines_of_events_and_of_deployment() -> None:
    task = body("timeouts: {DEPLOY: 1m, RECONFIGURE: 250ms, START: 3s}")

    assert task.transition_s == {"DEPLOY": 60.0, "RECONFIGURE": 0.25, "START": 3.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("control: x", "`control` of task 't' must be a mapping"),
        ("control: {mode: direkt}", "must be one of direct, fairmq, basic, hook"),
        ("control: {mode: kubectl_direct}", "Kubernetes is not supported"),
        ("control: {mode: Kubernetes_FairMQ}", "Kubernetes is not supported"),
        ("wants: {cpu: lots}", "`cpu` of `wants` of task 't' must be a number"),
        ("wants: {memory: -1}", "must be a number, 0 or more"),
        ("wants: {cpu: inf}", "must be a number"),
        ("wants: {ports: http}", "'http' is no port and no range of ports"),
        ("wants: {ports: 9010-9000}", "is no port and no range"),
        ("wants: {ports: 70000}", "is no port"),
        ("wants: {ports: {a: b}}", "`ports` of task 't' must be text"),
        ("liveness: maybe", "must be true or false"),
        ("reconfigure: never", "must be one of live, reset"),
        ("stop: politely", "`stop` of task 't' is 'POLITELY'"),
        ("stop: {signal: politely}", "`signal` of `stop` of task 't' is 'POLITELY'"),
        ("stop: {signal: INT, timeout: 5}", "`timeout` of `stop` of task 't': not a duration: '5'"),
        ("on_exit: restart", "`on_exit` of task 't' must be one of error, drop, and is 'restart'"),
        ("timeouts: {JUMP: 1s}", "has the event 'JUMP'"),
        ("timeouts: {START: soon}", "not a duration: 'soon'"),
        ("properties: {a: '{{'}", "{{ is not closed"),
        ("properties: [a]", "`properties` of task 't' must be a mapping"),
        ("bind: [{name: a, type: x}]", "must be one of push"),
    ],
)
def test_wrong_tasks(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        body(text)
    assert reason in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("t.yaml", 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{name: t}", "has neither `command"),
        ("{name: t, command: {value: ''}}", "has neither `command"),
        ("{name: t, command: {value: x, env: [novalue]}}", "`env` of task 't' has the entry 'novalue'"),
        ("{name: t, command: {value: x, env: ['=x']}}", "`env` of task 't' has the entry '=x'"),
        ("{name: t, command: {value: x, shell: sh}}", "`shell` of task 't' must be true or false"),
        ("{name: t, command: {value: x, arguments: [[a]]}}", "an entry of `arguments` of task 't' must be text"),
        ("{name: t, roles: []}", "t.yaml is a workflow template"),
        ("{command: {value: x}}", "has no 'name'"),
        ("x", "a task template must be a mapping"),
    ],
)
def test_wrong_files(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        read(text)
    assert reason in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("t.yaml", 1)


def test_name_and_file_name_must_agree() -> None:
    with pytest.raises(TemplateError, match="the task template is named 't', and its file 'u'"):
        read("{name: t, command: {value: x}}", name="u")
