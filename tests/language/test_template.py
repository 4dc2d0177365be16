"""Reading workflow templates: shapes, kinds, findings, and errors at their place."""

from __future__ import annotations

import pytest

from libecs.errors import TemplateError
from libecs.language.fields import VariableSpec
from libecs.language.task import read_task
from libecs.language.template import (
    AggregatorBody,
    CallBody,
    CountRange,
    IncludeBody,
    ListRange,
    TaskBody,
    TemplateRole,
    WorkflowTemplate,
    read_workflow,
)


def read(text: str, **options: str) -> WorkflowTemplate:
    return read_workflow(text, "w.yaml", **options)


def only_role(text: str) -> TemplateRole:
    """Return the role whose keys are `text`, one after the other."""
    body = read(f"name: w\nroles:\n  - {{name: r, {text}}}\n").root.body
    assert isinstance(body, AggregatorBody)
    return body.roles[0]


def messages(text: str) -> list[str]:
    return [str(finding).partition(": ")[2] for finding in read(text).findings]


def test_a_template_with_everything() -> None:
    template = read(
        """\
name: !public w
description: !public what it is
defaults: {a: 1, b: !public {value: "2"}}
vars: {c: "{{ a }}"}
constraints: [{attribute: x, value: "{{ a }}"}]
roles:
  - name: t
    enabled: "{{ a == '1' }}"
    task: {load: "{{ a }}", trigger: DESTROY, await: DESTROY, timeout: 1s, critical: false}
  - name: c
    call: {func: x.Y(), return: out, trigger: T, timeout: 1s}
  - {name: i, include: sub, start_after: [t, c]}
  - {name: "l{{ x }}", for: {range: "[]", var: x}, roles: [], min: 2}
  - {name: "n{{ x }}", for: {begin: 1, end: 2, var: x}, task: {load: t}}
""",
        name="w",
    )

    assert (template.name, template.public) == ("w", True)
    assert (template.description, template.description_public) == ("what it is", True)
    assert template.findings == ()
    assert [variable.name for variable in template.variables()] == ["b"]
    assert isinstance(template.root.body, AggregatorBody)
    task, call, include, loop, count = template.root.body.roles
    assert isinstance(task.body, TaskBody)
    assert not task.body.traits.critical
    assert task.enabled is not None
    assert task.enabled.names == {"a"}
    assert isinstance(call.body, CallBody)
    assert call.body.traits.critical
    assert call.body.returns.source == "out"
    assert isinstance(include.body, IncludeBody)
    assert [text.source for text in include.start_after] == ["t", "c"]
    assert isinstance(loop.loop, ListRange)
    assert isinstance(loop.body, AggregatorBody)
    assert loop.body.min == 2
    assert isinstance(count.loop, CountRange)
    assert (task.mark.line, task.mark.column) == (7, 5)


def test_a_hidden_template_is_read_too() -> None:
    template = read("{name: w, description: x, roles: []}")

    assert (template.public, template.description, template.description_public) == (False, "x", False)


@pytest.mark.parametrize("key", ["connect", "bind", "constraints", "vars", "defaults", "start_after", "enabled"])
def test_a_key_without_value_is_as_if_it_were_not_there(key: str) -> None:
    assert only_role(f"{key}: , task: {{load: t}}") == only_role("task: {load: t}")


def test_a_range_beside_begin_and_end_loses() -> None:
    assert messages('{name: w, roles: [{name: r, for: {range: "[]", begin: 1, end: 2, var: i}, task: {load: t}}]}') == [
        "`for` of role 'r' has `range` beside `begin` and `end`; `range` is ignored"
    ]


def test_begin_without_end_is_no_count() -> None:
    role = only_role('for: {range: "[]", begin: 1, var: i}, task: {load: t}')

    assert isinstance(role.loop, ListRange)


def test_unknown_keys_are_findings_with_a_suggestion() -> None:
    assert messages(
        "{name: w, colour: red, roles: [{name: r, enable: 'false', description: x, task: {load: t, tirgger: x}}]}"
    ) == [
        "unknown key 'colour' in role 'w' is ignored",
        "unknown key 'enable' in role 'r' is ignored; did you mean 'enabled'?",
        "unknown key 'description' in role 'r' is ignored",
        "unknown key 'tirgger' in `task` of role 'r' is ignored; did you mean 'trigger'?",
    ]


def test_a_finding_has_a_place() -> None:
    finding = read("name: w\nroles:\n  - name: r\n    colour: x\n    task: {load: t}\n").findings[0]

    assert str(finding) == "w.yaml:4:5: unknown key 'colour' in role 'r' is ignored"


# --------------------------------------------------------------------------------------------------- variables


def test_values_are_the_texts_of_the_file() -> None:
    role = only_role("vars: {a: true, b: 0x1F, c: 8500, d: , e: ~, f: 'null', g: 1.50}, task: {load: t}")

    assert {variable.name: variable.text.source for variable in role.vars} == {
        "a": "true",
        "b": "0x1F",
        "c": "8500",
        "d": "",
        "e": "",
        "f": "null",
        "g": "1.50",
    }


def test_mappings_without_public_and_lists_are_dropped_with_a_finding() -> None:
    template = read("{name: w, defaults: {a: {value: x}, b: [x], c: y}, roles: []}")

    assert [variable.name for variable in template.root.defaults] == ["c"]
    assert [finding.message.split(" and")[0] for finding in template.findings] == [
        "'a' in `defaults` is a mapping without !public",
        "'b' in `defaults` is a list",
    ]


def test_public_variables_keep_what_user_interfaces_need() -> None:
    template = read(
        """\
name: w
defaults:
  a: !public
    value: "{{ b }}"
    type: list
    label: A
    description: what A is
    widget: dropDownBox
    panel: P
    values: [x, 1]
    index: -3
    rows: 2
    visibleif: $$b === "1"
    enabledif: $$c === "1"
  e: !public {type: number}
  s: !public plain
roles: []
"""
    )
    a, e, s = template.variables()

    assert a.text.source == "{{ b }}"
    assert a.spec == VariableSpec(
        type="list",
        label="A",
        description="what A is",
        widget="dropDownBox",
        panel="P",
        values=("x", "1"),
        index=-3,
        rows=2,
        visible_if='$$b === "1"',
        enabled_if='$$c === "1"',
    )
    assert (e.text.source, e.spec) == ("", VariableSpec(type="number"))
    assert (s.text.source, s.spec) == ("plain", VariableSpec())
    assert a.mark.line == 4


def test_an_unknown_type_is_shown_as_string() -> None:
    template = read("{name: w, defaults: {a: !public {value: x, type: colour}}, roles: []}")

    assert [variable.spec.type for variable in template.variables() if variable.spec] == ["string"]
    assert "unknown type 'colour'" in template.findings[0].message


# --------------------------------------------------------------------------------------------------- channels


def test_channels_have_defaults() -> None:
    role = only_role(
        "bind: [{name: a, type: PUSH}], connect: [{name: b, type: sub, target: '{{ x }}'}], task: {load: t}"
    )
    inbound, outbound = role.bind[0], role.connect[0]

    assert (inbound.type, inbound.send_buffer, inbound.receive_buffer, inbound.rate_logging) == (
        "push",
        1000,
        1000,
        "0",
    )
    assert (inbound.transport, inbound.addressing, inbound.target.source, inbound.global_.source) == (
        "default",
        "tcp",
        "",
        "",
    )
    assert outbound.target.names == {"x"}


def test_channels_with_everything() -> None:
    role = only_role(
        "bind: [{name: a, type: pub, sndBufSize: '4', rcvBufSize: 5, rateLogging: '{{ r }}', transport: shmem, "
        "addressing: IPC, global: 'g-{{ it }}', target: 'tcp://*:1'}], task: {load: t}"
    )
    channel = role.bind[0]

    assert (channel.send_buffer, channel.receive_buffer, channel.rate_logging) == (4, 5, "{{ r }}")
    assert (channel.transport, channel.addressing) == ("shmem", "ipc")
    assert (channel.global_.source, channel.target.source) == ("g-{{ it }}", "tcp://*:1")


def test_addressing_and_global_mean_nothing_on_an_outbound_channel() -> None:
    text = "{name: w, connect: [{name: a, type: pull, target: x, addressing: ipc, global: g}], roles: []}"

    assert messages(text) == [
        "unknown key 'addressing' in a channel is ignored",
        "unknown key 'global' in a channel is ignored",
    ]


# --------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "the file is empty"),
        ("[]", 1, 1, "a workflow template must be a mapping"),
        ("roles: []", 1, 1, "has no 'name'"),
        ("name: ''\nroles: []", 1, 7, "the name of the workflow template is empty"),
        ("name: [x]\nroles: []", 1, 7, "`name` of the workflow template must be text"),
        ("name: w", 1, 1, "a workflow template needs the key 'roles'"),
        ("name: w\ncommand: {}", 1, 1, "a workflow template needs the key 'roles'"),
        ("name: w\nroles: x", 2, 8, "`roles` of role 'w' must be a list"),
        ("name: w\nroles: [x]", 2, 9, "a role in `roles` of role 'w' must be a mapping"),
        ("name: w\nfor: {range: '[]', var: x}\nroles: []", 1, 1, "the root of a workflow can't be repeated"),
    ],
)
def test_wrong_files(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        read(text)
    assert reason in str(caught.value)
    assert (caught.value.file, caught.value.line, caught.value.column) == ("w.yaml", line, column)


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("{task: {load: t}}", "a role needs a name"),
        ("{name: r}", "has none of `roles`, `task`, `call` and `include`"),
        ("{name: r, task: {load: t}, include: x}", "role 'r' has `task` and `include`"),
        ("{name: r, task: t}", "`task` of role 'r' must be a mapping"),
        ("{name: r, task: {}}", "has no 'load'"),
        ("{name: r, task: {load: ''}}", "`load` of role 'r' is empty"),
        ("{name: r, call: {trigger: x}}", "has no 'func'"),
        ("{name: r, include: }", "`include` of role 'r' is empty"),
        ("{name: r, task: {load: t, critical: maybe}}", "`critical` of role 'r' must be true or false"),
        ("{name: r, task: {load: t, critical: '{{ x }}'}}", "`critical` of role 'r' must be true or false"),
        ("{name: r, for: x, task: {load: t}}", "`for` of role 'r' must be a mapping"),
        ("{name: r, for: {range: '[]'}, task: {load: t}}", "`for` of role 'r' needs `var`"),
        ("{name: r, for: {begin: 1, var: x}, task: {load: t}}", "either `range` or `begin` and `end`"),
        ("{name: r, vars: [x], task: {load: t}}", "`vars` of role 'r' must be a mapping"),
        ("{name: r, vars: {a: '{{ b'}, task: {load: t}}", "{{ is not closed"),
        ("{name: r, vars: {a: '{{ b + }}'}, task: {load: t}}", "the expression ends too early"),
        ("{name: r, constraints: {a: b}, task: {load: t}}", "`constraints` of role 'r' must be a list"),
        ("{name: r, constraints: [{value: b}], task: {load: t}}", "has no 'attribute'"),
        ("{name: r, constraints: [{attribute: b}], task: {load: t}}", "has no 'value'"),
        ("{name: r, constraints: [{attribute: '', value: b}], task: {load: t}}", "attribute of a constraint is empty"),
        ("{name: r, bind: [{type: push}], task: {load: t}}", "has no 'name'"),
        ("{name: r, bind: [{name: a}], task: {load: t}}", "has no 'type'"),
        ("{name: r, bind: [{name: '{{ a }}', type: push}], task: {load: t}}", "must be a plain text"),
        ("{name: r, bind: [{name: a, type: puhs}], task: {load: t}}", "must be one of push, pull, pub, sub"),
        ("{name: r, bind: [{name: a, type: push, transport: x}], task: {load: t}}", "must be one of default, zeromq"),
        ("{name: r, bind: [{name: a, type: push, addressing: x}], task: {load: t}}", "must be one of tcp, ipc"),
        ("{name: r, bind: [{name: a, type: push, sndBufSize: x}], task: {load: t}}", "must be an integer"),
        ("{name: r, bind: [{name: a, type: push, rcvBufSize: -1}], task: {load: t}}", "must be an integer, 0 or more"),
        ("{name: r, bind: [{name: a, type: push}, {name: a, type: pub}], task: {load: t}}", "the channel 'a' twice"),
        ("{name: r, start_after: {a: b}, task: {load: t}}", "`start_after` of role 'r' must be a list"),
        ("{name: r, min: many, roles: []}", "`min` of role 'r' must be an integer"),
        ("{name: r, defaults: {a: !public {index: x}}, task: {load: t}}", "must be an integer and is 'x'"),
    ],
)
def test_wrong_roles(role: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        read(f"name: w\nroles:\n  - {role}\n")
    assert reason in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("w.yaml", 3)
    assert caught.value.column >= 5


def test_name_and_file_name_must_agree() -> None:
    with pytest.raises(TemplateError, match="the workflow template is named 'w', and its file 'v'"):
        read("{name: w, roles: []}", name="v")


def test_the_number_of_expressions_is_limited() -> None:
    names = "".join(f"  v{i}: '{{{{ {i} }}}}'\n" for i in range(10_001))

    with pytest.raises(TemplateError, match="has 10001 tags"):
        read_workflow(f"name: w\nvars:\n{names}roles: []\n", "w.yaml")
    with pytest.raises(TemplateError, match="has 10001 tags"):
        read_task(f"name: w\nvars:\n{names}command: {{value: x}}\n".encode(), "w.yaml")
