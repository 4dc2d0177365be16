"""Workflow and task templates of a wrong shape: wrong types everywhere, wrong values, what is missing."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

from libecs.language.task import read_task
from libecs.language.template import read_workflow
from tests.badinput.row import Row


def workflow(name: str, text: str, place: str, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a workflow template."""
    return Row(
        name=f"workflow, {name}",
        run=lambda: read_workflow(text, "w.yaml", name="w"),
        code=code,
        place=f"w.yaml:{place}",
        says=says,
        source=text[:4000],
    )


def role(name: str, entries: str, column: int, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for one role with a task, in line 3; its own entries begin in column 14."""
    return workflow(name, f"name: w\nroles:\n  - {{name: r, {entries}}}\n", f"3:{column}", *says, code=code)


def task(name: str, text: str, place: str, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a task template."""
    return Row(
        name=f"task, {name}",
        run=lambda: read_task(text, "t.yaml", name="t"),
        code=code,
        place=f"t.yaml:{place}",
        says=says,
        source=text[:4000],
    )


def entry(name: str, line: str, column: int, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a task template with one more line, the third."""
    return task(name, f"name: t\ncommand: {{value: x}}\n{line}\n", f"3:{column}", *says, code=code)


def command(name: str, entries: str, column: int, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a task template's command; its entries begin in column 21."""
    return task(name, f"name: t\ncommand: {{value: x, {entries}}}\n", f"2:{column}", *says, code=code)


NEEDED = "has none of `roles`, `task`, `call` and `include`"
WORKFLOWS: tuple[Row, ...] = (
    workflow("a list", "- a\n", "1:1", "a workflow template must be a mapping", "and is a list"),
    workflow("a text", "hello\n", "1:1", "a workflow template must be a mapping", "and is text"),
    workflow("empty braces", "{}\n", "1:1", "the workflow template has no 'name'", "add `name:` here"),
    workflow("without a name", "roles: []\n", "1:1", "the workflow template has no 'name'", "add `name:` here"),
    workflow("without roles", "name: w\n", "1:1", "a workflow template needs the key 'roles'"),
    workflow("a task template", "name: w\ncommand: {value: x}\n", "1:1", "needs the key 'roles'", "is this a task template?"),
    workflow("another name", "name: v\nroles: []\n", "1:7", "is named 'v', and its file 'w'", "must be the same"),
    workflow("a name that is empty", "name: ''\nroles: []\n", "1:7", "the name of the workflow template is empty"),
    workflow("a name that is a list", "name: [w]\nroles: []\n", "1:7", "must be text, and is a list"),
    workflow("a name that is a mapping", "name: {w: x}\nroles: []\n", "1:7", "must be text, and is a mapping"),
    workflow("a root that is repeated", "name: w\nfor: {begin: 1, end: 2, var: i}\nroles: []\n", "1:1", "can't be repeated"),
    workflow("roles that are a text", "name: w\nroles: x\n", "2:8", "`roles` of role 'w' must be a list", "and is text"),
    workflow("roles that are a mapping", "name: w\nroles: {a: 1}\n", "2:8", "must be a list", "and is a mapping"),
    workflow("a role that is a text", "name: w\nroles: [x]\n", "2:9", "a role in `roles` of role 'w' must be a mapping"),
    workflow("a role that is empty", "name: w\nroles: [~]\n", "2:9", "must be a mapping", "and is empty"),
    workflow("a role without a name", "name: w\nroles: [{task: {load: t}}]\n", "2:9", "a role needs a name"),
    workflow("a role of nothing", "name: w\nroles: [{name: r}]\n", "2:9", f"role 'r' {NEEDED}", "give it one of them"),
    workflow("a misspelt kind", "name: w\nroles: [{name: r, tsak: {}}]\n", "2:9", f"role 'r' {NEEDED}"),
    workflow("a description that is a list", "name: w\ndescription: [x]\nroles: []\n", "2:14", "must be text, and is a list"),
    workflow("40 roles inside each other", "name: w\nroles: " + "[{name: a, roles: " * 40 + "[]" + "}]" * 40, "2:279", "more than 32 levels inside each other"),
    workflow("20 000 tags", "name: w\nroles: []\nvars: {" + ", ".join(f"v{n}: '{{{{ a }}}}'" for n in range(20_000)) + "}", "1:1", "more than 10000"),
    role("two kinds", "task: {load: t}, call: {func: x.Y()}", 5, "role 'r' has `task` and `call`", "a role has one of them"),
    role("all kinds", "roles: [], task: {}, call: {}, include: x", 5, "has `roles` and `task` and `call` and `include`"),
    role("a task that is a text", "task: t", 21, "`task` of role 'r' must be a mapping", "and is text"),
    role("a task that is empty", "task: ", 21, "`task` of role 'r' must be a mapping", "and is empty"),
    role("a task without load", "task: {trigger: x}", 21, "role 'r' has no 'load'", "add `load:` here"),
    role("a load that is empty", "task: {load: ''}", 21, "`load` of role 'r' is empty"),
    role("a load that is a list", "task: {load: [t]}", 28, "`load` of role 'r' must be text, and is a list"),
    role("a call without func", "call: {trigger: x}", 21, "role 'r' has no 'func'", "add `func:` here"),
    role("a func that is blank", "call: {func: ' '}", 21, "`func` of role 'r' is empty"),
    role("an include that is a mapping", "include: {a: b}", 24, "`include` of role 'r' must be text", "and is a mapping"),
    role("an include that is empty", "include: ''", 5, "`include` of role 'r' is empty"),
    role("critical by a word", "task: {load: t, critical: maybe}", 41, "`critical` of role 'r' must be true or false", "'maybe'"),
    role("critical by a variable", "task: {load: t, critical: '{{ x }}'}", 41, "must be true or false", "use two roles with `enabled`"),
    role("critical by a list", "task: {load: t, critical: [true]}", 41, "`critical` of role 'r' must be text, and is a list"),
    role("a trigger that is a list", "task: {load: t, trigger: [x]}", 40, "`trigger` of role 'r' must be text"),
    role("a timeout that is a mapping", "task: {load: t, timeout: {s: 3}}", 40, "`timeout` of role 'r' must be text"),
    role("a loop that is a text", "for: x, task: {load: t}", 20, "`for` of role 'r' must be a mapping", "and is text"),
    role("a loop without a variable", "for: {range: x}, task: {load: t}", 20, "`for` of role 'r' needs `var`"),
    role("a loop without an end", "for: {begin: 1, var: i}, task: {load: t}", 20, "either `range` or `begin` and `end`"),
    role("a variable that is a list", "for: {range: x, var: [i]}, task: {load: t}", 36, "must be text, and is a list"),
    role("defaults that are a list", "defaults: [a], task: {load: t}", 25, "`defaults` of role 'r' must be a mapping"),
    role("vars that are a text", "vars: a, task: {load: t}", 21, "`vars` of role 'r' must be a mapping", "and is text"),
    role("an open tag", "vars: {a: '{{ x'}, task: {load: t}", 26, "{{ is not closed", "write }} after", code="E_EXPRESSION"),
    role("an empty tag", "vars: {a: '{{ }}'}, task: {load: t}", 28, "the expression is empty", code="E_EXPRESSION"),
    role("a wrong tag", "vars: {a: '{{ x = 1 }}'}, task: {load: t}", 31, "`=` can't stand here", "==", code="E_EXPRESSION"),
    role("a wrong tag in a name", "vars: {}, start_after: ['{{ ( }}'], task: {load: t}", 44, "ends too early", code="E_EXPRESSION"),
    role("enabled that is a list", "enabled: [x], task: {load: t}", 24, "`enabled` of role 'r' must be text, and is a list"),
    role("constraints that are a mapping", "constraints: {a: b}, task: {load: t}", 28, "`constraints` of role 'r' must be a list"),
    role("a constraint that is a text", "constraints: [a], task: {load: t}", 29, "a constraint of role 'r' must be a mapping"),
    role("a constraint without a value", "constraints: [{attribute: a}], task: {load: t}", 29, "a constraint has no 'value'"),
    role("a constraint of nothing", "constraints: [{attribute: '', value: x}], task: {load: t}", 29, "the attribute of a constraint"),
    role("bind that is a text", "bind: x, task: {load: t}", 21, "`bind` of role 'r' must be a list", "and is text"),
    role("a channel that is a text", "bind: [x], task: {load: t}", 22, "a channel in `bind` of role 'r' must be a mapping"),
    role("a channel without a name", "bind: [{type: push}], task: {load: t}", 22, "a channel has no 'name'", "add `name:`"),
    role("a channel without a type", "bind: [{name: c}], task: {load: t}", 22, "channel 'c' has no 'type'", "add `type:`"),
    role("a channel with a tag as name", "bind: [{name: '{{ x }}', type: push}], task: {load: t}", 22, "must be a plain text"),
    role("a channel of a wrong type", "bind: [{name: c, type: pusch}], task: {load: t}", 38, "push, pull, pub, sub", "did you mean 'push'?"),
    role("a transport by accident", "bind: [{name: c, type: push, transport: carrier}], task: {load: t}", 55, "default, zeromq, nanomsg, shmem"),
    role("an addressing by accident", "bind: [{name: c, type: push, addressing: udp}], task: {load: t}", 56, "one of tcp, ipc"),
    role("a buffer of -1", "bind: [{name: c, type: push, sndBufSize: -1}], task: {load: t}", 56, "an integer, 0 or more", "'-1'"),
    role("a buffer in words", "bind: [{name: c, type: push, rcvBufSize: many}], task: {load: t}", 56, "an integer, 0 or more", "'many'"),
    role("a channel twice", "bind: [{name: c, type: push}, {name: c, type: pull}], task: {load: t}", 45, "has the channel 'c' twice"),
    role("an outbound channel twice", "connect: [{name: c, type: push}, {name: c, type: pull}], task: {load: t}", 48, "twice"),
    role("a minimum in words", "roles: [], min: few", 31, "`min` of role 'r' must be an integer", "'few'"),
    role("an index in words", "task: {load: t}, vars: {a: !public {value: x, index: first}}", 68, "`index` of variable 'a'", "'first'"),
    role("rows below 0", "task: {load: t}, vars: {a: !public {value: x, rows: -2}}", 67, "an integer, 0 or more", "'-2'"),
    role("values that are a text", "task: {load: t}, vars: {a: !public {value: x, values: y}}", 69, "must be a list", "and is text"),
    role("a value that is a list", "task: {load: t}, vars: {a: !public {value: [x]}}", 58, "must be text, and is a list"),
    role("a widget that is a list", "task: {load: t}, vars: {a: !public {value: x, widget: [y]}}", 69, "must be text, and is a list"),
    role("start_after that is a mapping", "start_after: {a: b}, task: {load: t}", 28, "`start_after` of role 'r' must be a list"),
    role("start_after of a list", "start_after: [[a]], task: {load: t}", 29, "an entry of `start_after` of role 'r' must be text"),
)  # fmt: skip

TASKS: tuple[Row, ...] = (
    task("a list", "[a]\n", "1:1", "a task template must be a mapping", "and is a list"),
    task("without a name", "command: {value: x}\n", "1:1", "the task template has no 'name'", "add `name:` here"),
    task("another name", "name: u\ncommand: {value: x}\n", "1:7", "is named 'u', and its file 't'", "must be the same"),
    task("a workflow template", "name: t\nroles: []\n", "1:1", "t.yaml is a workflow template", "load it by `include:`"),
    task("without a command", "name: t\n", "1:1", "task 't' has neither `command: {value: …}` nor `control: {endpoint: …}`"),
    task("an empty command", "name: t\ncommand: {value: ''}\n", "1:1", "has neither `command: {value: …}`"),
    task("a command that is a text", "name: t\ncommand: ls\n", "2:10", "`command` of task 't' must be a mapping", "is text"),
    task("a value that is a list", "name: t\ncommand: {value: [ls]}\n", "2:18", "must be text, and is a list"),
    task("a wrong tag", "name: t\ncommand: {value: '{{ a b }}'}\n", "2:24", "`b` can't stand here", code="E_EXPRESSION"),
    entry("a control that is a text", "control: direct", 10, "`control` of task 't' must be a mapping", "and is text"),
    entry("an unknown mode", "control: {mode: indirect}", 17, "direct, fairmq, basic, hook", "did you mean 'direct'?"),
    entry("a mode of Kubernetes", "control: {mode: kubectl_direct}", 17, "Kubernetes is not supported", "supported modes"),
    entry("a mode that is a list", "control: {mode: [direct]}", 17, "must be text, and is a list"),
    entry("properties that are a list", "properties: [a]", 13, "`properties` of task 't' must be a mapping"),
    entry("a wrong property", "properties: {a: '{{ }}'}", 20, "the expression is empty", code="E_EXPRESSION"),
    entry("defaults that are a text", "defaults: a", 11, "`defaults` of task 't' must be a mapping", "and is text"),
    entry("wants that are a list", "wants: [1]", 8, "`wants` of task 't' must be a mapping", "and is a list"),
    entry("a CPU in words", "wants: {cpu: many}", 14, "must be a number, 0 or more", "'many'"),
    entry("a negative CPU", "wants: {cpu: -1}", 14, "must be a number, 0 or more", "'-1'"),
    entry("an endless CPU", "wants: {cpu: inf}", 14, "must be a number, 0 or more", "'inf'"),
    entry("no number of CPUs", "wants: {cpu: nan}", 14, "must be a number, 0 or more", "'nan'"),
    entry("memory that is a list", "limits: {memory: [1]}", 18, "must be text, and is a list"),
    entry("port 0", "wants: {ports: '0'}", 16, "'0' is no port and no range of ports", "8080, 9000-9010"),
    entry("port 65 536", "wants: {ports: '65536'}", 16, "'65536' is no port and no range of ports"),
    entry("a range of ports backwards", "wants: {ports: '9010-9000'}", 16, "'9010-9000' is no port"),
    entry("a port in words", "wants: {ports: http}", 16, "'http' is no port and no range of ports"),
    entry("a port that is a mapping", "wants: {ports: {a: 1}}", 16, "`ports` of task 't' must be text", "a mapping"),
    entry("a port in a list of lists", "wants: {ports: [[1]]}", 17, "a port must be text, and is a list"),
    entry("a signal that is none", "stop: SIGFOO", 7, "is 'SIGFOO'", "a signal, one of SIGTERM"),
    entry("a signal that can't be sent", "stop: SIGSTOP", 7, "is 'SIGSTOP'", "a signal, one of SIGTERM"),
    entry("a signal that is a list", "stop: [TERM]", 7, "and is a list"),
    entry("a stop timeout in words", "stop: {signal: SIGINT, timeout: soon}", 33, "not a duration: 'soon'", "with units"),
    entry("timeouts that are a text", "timeouts: 5s", 11, "`timeouts` of task 't' must be a mapping", "and is text"),
    entry("a timeout of an unknown event", "timeouts: {STRAT: 5s}", 12, "has the event 'STRAT'", "events: "),
    entry("a timeout without a unit", "timeouts: {START: 5}", 19, "not a duration: '5'", "add a unit: 5s for seconds"),
    entry("a negative timeout", "timeouts: {START: -5s}", 19, "a duration can't be negative: '-5s'"),
    entry("a timeout in words", "timeouts: {START: soon}", 19, "not a duration: 'soon'", "10s, 1m30s or 250ms"),
    entry("a timeout that is a list", "timeouts: {START: [5s]}", 19, "must be text, and is a list"),
    entry("liveness in words", "liveness: often", 11, "`liveness` of task 't' must be true or false", "'often'"),
    entry("reconfigure in words", "reconfigure: soon", 14, "must be one of live, reset", "'soon'"),
    entry("on_exit in words", "on_exit: restart", 10, "error"),
    entry("connect that is a text", "connect: x", 10, "`connect` of task 't' must be a list", "and is text"),
    entry("a channel of a wrong type", "bind: [{name: c, type: bind}]", 24, "push, pull, pub, sub"),
    command("a shell in words", "shell: bash", 28, "`shell` of task 't' must be true or false", "'bash'"),
    command("a shell by a variable", "shell: '{{ x }}'", 28, "must be true or false", "it can't depend on variables"),
    command("arguments that are a text", "arguments: -v", 32, "`arguments` of task 't' must be a list", "and is text"),
    command("an argument that is a mapping", "arguments: [{a: b}]", 33, "an entry of `arguments` of task 't' must be text"),
    command("a wrong argument", "arguments: ['{{ x', y]", 34, "{{ is not closed", code="E_EXPRESSION"),
    command("an environment without values", "env: [PATH]", 26, "has the entry 'PATH'", "write each as NAME=value"),
    command("an environment without a name", "env: ['=x']", 26, "has the entry '=x'", "write each as NAME=value"),
    command("an environment that is a mapping", "env: {A: b}", 26, "`env` of task 't' must be a list", "a mapping"),
    command("a user that is a list", "user: [root]", 27, "`user` of task 't' must be text, and is a list"),
    command("an output that is a list", "stdout: [all]", 29, "must be text, and is a list"),
)  # fmt: skip

ROWS: tuple[Row, ...] = WORKFLOWS + TASKS
