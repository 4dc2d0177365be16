"""Workflows that are read well and can't be expanded: what roles need and do not find, circles, and sizes."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count

from libecs.config.tree import Tree
from libecs.workflow.expand import ExpansionLimits, expand
from libecs.workflow.source import TextSource
from tests.badinput.row import Row

TREE = Tree.of(
    {
        "o2": {
            "components": {"c": {"ANY": {"any": {"e": "x", "wrong": "{{ x", "loop": '{% include "loop" %}'}}}},
            "hardware": {"flps": {"h1": {"cards": "no JSON"}}},
        }
    }
)
FILES = {
    "tasks/t.yaml": "name: t\ncontrol: {mode: direct}\ncommand: {value: x}\nbind: [{name: out, type: push}]\n",
    "tasks/b.yaml": "name: b\ncontrol: {mode: basic}\ncommand: {value: x}\nbind: [{name: out, type: push}]\n",
    "tasks/bad.yaml": "name: bad\ncommand: [x]\n",
    "workflows/self.yaml": "name: self\nroles: [{name: a, include: self}]\n",
    "workflows/ping.yaml": "name: ping\nroles: [{name: a, include: pong}]\n",
    "workflows/pong.yaml": "name: pong\nroles: [{name: b, include: ping}]\n",
    "workflows/broken.yaml": "name: broken\nroles: [x]\n",
    **{
        f"workflows/d{n}.yaml": f"name: d{n}\nroles: [{'{name: a, roles: [' * 10}{{name: b, include: d{n + 1}}}{']}' * 10}]\n"
        for n in range(6)
    },
    **{f"workflows/i{n}.yaml": f"name: i{n}\nroles: [{{name: a, include: i{n + 1}}}]\n" for n in range(20)},
}
_ids = count(1)
ANYWHERE = -1
"""Column of what may be wrong at any place of an expression."""


LIMITS = ExpansionLimits(roles=20_000)
"""A tenth of what is allowed: that many roles are made before one more is refused, and 200 000 take seconds."""


def expanded(files: Mapping[str, str], **variables: str) -> object:
    """Expand the workflow `w`."""
    source = TextSource(files={**FILES, **files})
    return expand(source, "w", variables, TREE, ids=lambda: f"id{next(_ids)}", limits=LIMITS)


def whole(name: str, text: str, place: str, path: str, *says: str, code: str = "E_TEMPLATE", **variables: str) -> Row:
    """Return a row for a workflow."""
    return Row(
        name=name,
        run=lambda: expanded({"workflows/w.yaml": text}, **variables),
        code=code,
        place=f"workflows/{place}" if place[:1].isalpha() else f"workflows/w.yaml:{place}" if place else "",
        path=path,
        says=says,
        source=text[:4000],
    )


def role(name: str, entries: str, column: int, *says: str, code: str = "E_TEMPLATE", path: str = "w.r") -> Row:
    """Return a row for one role in line 3; its own entries begin in column 15."""
    place = f"3:{column}" if column != ANYWHERE else ""
    return whole(name, f"name: w\nroles:\n  - {{name: r, {entries}}}\n", place, path, *says, code=code)


def expression(name: str, text: str, column: int, *says: str) -> Row:
    """Return a row for a variable of a role; `column` counts in the expression."""
    place = 28 + column if column != ANYWHERE else ANYWHERE
    return role(name, f'vars: {{a: "{{{{ {text} }}}}"}}, task: {{load: t}}', place, *says, code="E_EXPRESSION")


ROLES: tuple[Row, ...] = (
    expression("an unknown variable", "nobody", 1, "unknown variable 'nobody'", "set it in defaults or vars"),
    expression("an unknown variable in a branch", "true ? 'a' : nobody", 14, "unknown variable 'nobody'"),
    expression("an unknown function", "strings.Nope('a')", 1, "unknown function strings.Nope()"),
    expression("an integration that is not loaded", "odc.Start()", 1, "belongs to the integration 'odc', which is not loaded"),
    expression("a role above the root", "Up(5).Path", 6, "nil has no 'Path'", "is there a role at this height?"),
    expression("a role below", "Up(0).Path", 1, "Up(0) is no ancestor", "Up(1) is the parent"),
    expression("a role far below", "Up(-9223372036854775807).Path", 1, "is no ancestor", "Up(1) is the parent"),
    expression("itself too early", "This().Path", 1, "This() is not known yet", "use it in constraints"),
    expression("a role as text", "Parent()", 1, "the result is a role, which has no text", "write .Path or .Name"),
    expression("what a role has not", "Parent().Class", 9, "a role has no 'Class'", "it has .Name and .Path"),
    expression("a path of three parts", "config.Get('a/ANY/b')", 1, "bad configuration path 'a/ANY/b': 3 of 4 parts"),
    expression("a path that climbs", "config.Get('../ANY/../x')", 1, "component '..' is not possible", "a path is component"),
    expression("an unknown run type", "config.Get('c/PHYSIC/any/e')", 1, "unknown run type 'PHYSIC'", "known run types"),
    expression("a payload that is not there", "config.Get('c/ANY/any/x')", 1, "no payload at configuration path c/ANY/any/x"),
    expression("no old payload either", "config.GetLegacy('c/ANY/any/x')", 1, "no payload at configuration path c/ANY/any/x"),
    expression("an old payload that is wrong", "config.GetLegacy('c/ANY/any/wrong')", ANYWHERE, "c/ANY/any/wrong:1", "{{ is not closed"),
    expression("no command", "dpl.Generate('none')", 1, "dpl.Generate of 'none': there is no such command"),
    expression("an entry that can't be resolved", "config.Resolve('c', 'ANY', 'any', 'x')", 1, "could not resolve"),
    expression("a host without a detector", "inventory.DetectorForHost('h9')", 1, "host 'h9' belongs to no detector"),
    expression("hosts that are no list", "inventory.DetectorsForHosts('h1')", 1, "not a JSON list of host names", '["flp001"'),
    expression("a host without cards", "inventory.CRUCardsForHost('h9')", 1, "no cards of host 'h9' are known"),
    expression("cards that are no JSON", "inventory.CRUCardsForHost('h1')", 1, "is not JSON of the form"),
    expression("a runtime value that is not there", "runtime.Get('a', 'b')", 1, "there is no runtime value a/b"),
    expression("a runtime value without a key", "runtime.Set('a', '', 'x')", 1, "a runtime value needs a component and a key"),
    expression("a command of a template", "dpl.Generate('rm -rf x')", 1, "dpl.Generate is off", "let an administrator allow"),
    expression("a file of a template", "util.Dump('x', '/etc/passwd')", 1, "util.Dump is off"),
    expression("a power without end", "9**9**9", 2, "is not a finite number"),
    expression("a map of maps", "map(1..10000, {map(1..10000, {#})})", ANYWHERE, "needs more than 100000 steps"),
    whole(
        "a name that becomes empty",
        "name: w\nroles:\n  - {name: \"{{ '' }}\", task: {load: t}}\n",
        "3:5",
        "w",
        "the name of the role is empty text",
    ),
    role("an unknown task template", "task: {load: tt}", 28, "there is no tasks/tt.yaml", "there are: b, bad, t"),
    role("a reference that is none", "task: {load: a/b}", 28, "'a/b' names no template", "write a name, name@revision"),
    role("a reference into the system", "task: {load: ../../etc/passwd}", 28, "names no template", "write a name"),
    role("an unknown repository", "task: {load: host/a/b/tasks/t}", 28, "there is no repository 'host/a/b'"),
    role("an unknown workflow", "include: lost", 24, "there is no workflows/lost.yaml", "there are: broken"),
    role("an unknown start", "start_after: [q], task: {load: t}", 0, "`start_after` names 'q', and there is no such role"),
    role("a start after itself", "start_after: [r], task: {load: t}", 0, "`start_after` names w.r, which is the role itself"),
    role("a trigger that is no moment", "task: {load: b, trigger: before_X+y}", 40, "'before_X+y' is no moment", "a weight"),
    role("a weight without a name", "task: {load: b, trigger: '+5'}", 40, "'+5' is no moment", "write a name"),
    role("a controlled task as a hook", "task: {load: t, trigger: DESTROY}", 40, "a direct task can't be a hook"),
    role("a timeout without a unit", "task: {load: b, timeout: '5'}", 40, "timeout: not a duration: '5'", "add a unit: 5s"),
    role("a call of no integration", "call: {func: run()}", 28, "`func` is 'run()', which is no call", "write integration.Method"),
    role("a call of two things", "call: {func: 'a.B() + c.D()'}", 28, "which is no call", "dcs.StartOfRun()"),
    role("a call that does not parse", "call: {func: 'a.B('}", 28, "`func` is 'a.B(': the expression ends too early"),
    role("an address that is none", "bind: [{name: c, type: push, target: here}], task: {load: t}", 22, "the fixed address of inbound"),
    role("a target that is none", "connect: [{name: c, type: pull, target: there}], task: {load: t}", 0, "which is no channel of"),
    role("no target", "connect: [{name: c, type: pull}], task: {load: t}", 0, "outbound channel 'c' has no target", "repeat the"),
    role("a target without a channel", "connect: [{name: c, type: pull, target: 'w.r:in'}], task: {load: t}", 0, "w.r binds out"),
    role("a global name that is none", "connect: [{name: c, type: pull, target: '::g'}], task: {load: t}", 0, "global names of this"),
    role("a task that gets no channels", "connect: [{name: c, type: pull, target: 'w:out'}], task: {load: t}", 0, "w is no task"),
    role("too few members", "min: 2, roles: [{name: a, task: {load: t}}]", 5, "`min` is 2, but the role has 1 members"),
)  # fmt: skip

WHOLE: tuple[Row, ...] = (
    whole("no role is enabled", "name: w\nroles: [{name: r, enabled: 'no', task: {load: t}}]\n", "1:1", "", "has no role left", "disabled: w.r"),
    whole("two roles of one name", "name: w\nroles:\n  - {name: r, task: {load: t}}\n  - {name: r, task: {load: b}}\n", "4:5", "", "two roles are named w.r, in workflows/w.yaml:3 and workflows/w.yaml:4"),
    whole("copies of one name", "name: w\nroles:\n  - {name: r, for: {begin: 1, end: 2, var: i}, task: {load: t}}\n", "3:5", "", "two roles are named w.r"),
    whole("a circle of starts", "name: w\nroles:\n  - {name: a, start_after: [b], task: {load: t}}\n  - {name: b, start_after: [a], task: {load: t}}\n", "w.yaml:3:0", "w.a", "roles start after each other: w.a -> w.b -> w.a"),
    whole("one global name for two channels", "name: w\nroles:\n  - {name: a, bind: [{name: c, type: push, global: g}], task: {load: t}}\n  - {name: b, bind: [{name: c, type: push, global: g}], task: {load: t}}\n", "w.yaml:4:0", "w.b", "the global channel name 'g' of channel 'c' is taken by channel 'c' of w.a"),
    whole("a file that includes itself", "name: w\nroles: [{name: r, include: self}]\n", "self.yaml:2:28", "w.r.a", "includes go round in a circle: w -> self -> self"),
    whole("two files that include each other", "name: w\nroles: [{name: r, include: ping}]\n", "pong.yaml:2:28", "w.r.a.b", "includes go round in a circle: w -> ping -> pong -> ping"),
    whole("20 includes inside each other", "name: w\nroles: [{name: r, include: i0}]\n", "i14.yaml:2:28", "w.r" + ".a" * 15, "more than 16 includes inside each other"),
    whole("a broken include", "name: w\nroles: [{name: r, include: broken}]\n", "broken.yaml:2:9", "", "a role in `roles` of role 'broken' must be a mapping"),
    whole("a range that is no JSON", "name: w\nroles: [{name: 'r{{ i }}', for: {range: 'a, b', var: i}, task: {load: t}}]\n", "2:41", "w", "`range` must give a JSON list of strings, and gives 'a, b'", 'such as ["flp001", "flp002"]'),
    whole("a range of numbers", "name: w\nroles: [{name: 'r{{ i }}', for: {range: '[1, 2]', var: i}, task: {load: t}}]\n", "2:41", "w", "a JSON list of strings"),
    whole("a range that is a map", "name: w\nroles: [{name: 'r{{ i }}', for: {range: '{}', var: i}, task: {load: t}}]\n", "2:41", "w", "a JSON list of strings"),
    whole("a range of 100 000 brackets", "name: w\nroles: [{name: 'r{{ i }}', for: {range: '{{ x }}', var: i}, task: {load: t}}]\n", "2:41", "w", "a JSON list of strings", x="[" * 100_000),
    whole("a range of what the iterator declares", "name: w\nroles: [{name: 'r{{ i }}', vars: {x: '[]'}, for: {range: '{{ x }}', var: i}, task: {load: t}}]\n", "2:62", "w", "unknown variable 'x'", code="E_EXPRESSION"),
    whole("a range of 100 001 items", "name: w\nroles: [{name: 'r{{ i }}', for: {range: '{{ x }}', var: i}, task: {load: t}}]\n", "2:41", "w", "`range` has 100001 items: more than 100000 roles", x=json.dumps(["a"] * 100_001)),
    whole("a text of 1.2 MB", "name: w\nvars: {a: '{{ x }}{{ x }}'}\nroles: [{name: r, task: {load: t}}]\n", "2:12", "w", "the text has 1200000 characters, more than 1048576", code="E_EXPRESSION", x="x" * 600_000),
    whole("60 roles inside each other", "name: w\nroles: [{name: r, include: d0}]\n", "", "*", "more than 48 roles inside each other"),
    whole("a count in words", "name: w\nroles: [{name: 'r{{ i }}', for: {begin: one, end: 2, var: i}, task: {load: t}}]\n", "2:41", "w", "`begin` and `end` must be integers: 'one'"),
    whole("a count with a fraction", "name: w\nroles: [{name: 'r{{ i }}', for: {begin: 1, end: 2.5, var: i}, task: {load: t}}]\n", "2:49", "w", "`begin` and `end` must be integers: '2.5'"),
    whole("a count to 10^9", "name: w\nroles: [{name: 'r{{ i }}', for: {begin: 1, end: 1000000000, var: i}, task: {load: t}}]\n", "2:33", "w", "counts from 1 to 1000000000: more than"),
    whole("a count of 10^400", f"name: w\nroles: [{{name: 'r{{{{ i }}}}', for: {{begin: -1, end: 1{'0' * 400}, var: i}}, task: {{load: t}}}}]\n", "2:50", "w", "`begin` and `end` must be integers"),
    whole("a count of 100 000 digits", f"name: w\nroles: [{{name: 'r{{{{ i }}}}', for: {{begin: 1, end: {'9' * 100_000}, var: i}}, task: {{load: t}}}}]\n", "2:49", "w", "`begin` and `end` must be integers"),
    whole("10^9 by two loops", "name: w\nroles: [{name: 'a{{ i }}', for: {begin: 1, end: 30000, var: i}, roles: [{name: 'b{{ k }}', for: {begin: 1, end: 30000, var: k}, roles: []}]}]\n", "2:73", "*", "the workflow has more than 20000 roles"),
)  # fmt: skip

ROWS: tuple[Row, ...] = ROLES + WHOLE
