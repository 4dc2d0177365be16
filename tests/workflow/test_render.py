"""The tree as JSON and as lines."""

from __future__ import annotations

import json
from collections.abc import Callable

from libecs.workflow.render import to_json, to_lines
from libecs.workflow.role import Workflow

TEMPLATE = """
    name: w
    defaults: {d: "1"}
    vars: {v: "2"}
    constraints: [{attribute: machine_id, value: h}]
    bind: [{name: above, type: push}]
    roles:
      - name: part
        min: 1
        roles:
          - name: t
            vars: {v: own}
            bind: [{name: own, type: push, addressing: ipc, global: g}]
            start_after: [u]
            task: {load: t}
          - {name: u, task: {load: b, trigger: DESTROY-5, timeout: 90s, critical: false}}
      - {name: c, call: {func: x.Y(), return: r, trigger: before_E, await: after_E+1}}
    """


def test_json_has_every_field(grow: Callable[..., Workflow]) -> None:
    tree = to_json(grow(TEMPLATE))

    json.dumps(tree)
    assert (tree["name"], tree["path"], tree["kind"], tree["critical"]) == ("w", "w", "aggregator", True)
    assert (tree["defaults"], tree["vars"]) == ({"d": "1"}, {"v": "2"})
    assert [channel["name"] for channel in tree["bind"]] == ["above"]
    part, call = tree["children"]
    assert part["min"] == 1
    first, hook = part["children"]
    assert first["constraints"] == [{"attribute": "machine_id", "value": "h"}]
    assert first["start_after"] == ["w.part.u"]
    assert first["bind"] == [
        {
            "name": "own",
            "type": "push",
            "sndBufSize": 1000,
            "rcvBufSize": 1000,
            "rateLogging": "0",
            "transport": "default",
            "target": "",
            "addressing": "ipc",
            "global": "g",
        }
    ]
    assert [channel["name"] for channel in first["task"]["bind"]] == ["own", "above"]
    assert {key: first["task"][key] for key in ("class", "mode", "trigger", "await", "timeout", "connect")} == {
        "class": "t",
        "mode": "direct",
        "trigger": "",
        "await": "",
        "timeout": "0s",
        "connect": [],
    }
    assert (hook["critical"], hook["task"]["mode"], hook["task"]["trigger"], hook["task"]["timeout"]) == (
        False,
        "hook",
        "DESTROY-5",
        "1m30s",
    )
    assert call["call"] == {
        "func": "x.Y()",
        "return": "r",
        "trigger": "before_E",
        "await": "after_E+1",
        "timeout": "30s",
    }
    assert "variables" not in tree


def test_all_variables_are_those_that_win(grow: Callable[..., Workflow]) -> None:
    tree = to_json(grow(TEMPLATE, {"d": "user"}, base_defaults={"far": "x"}), all_variables=True)

    assert tree["children"][0]["children"][0]["variables"] == {"d": "user", "v": "own", "far": "x"}
    assert tree["children"][1]["variables"] == {"d": "user", "v": "2", "far": "x"}


def test_lines_are_indented_and_say_what_runs(grow: Callable[..., Workflow]) -> None:
    assert to_lines(grow(TEMPLATE)) == [
        "w",
        "  part",
        "    t  t (direct)",
        "    u  b (hook)  at DESTROY-5  not critical",
        "  c  x.Y()  at before_E",
    ]


def test_rate_logging_is_shown_as_it_would_be_now(grow: Callable[..., Workflow]) -> None:
    tree = to_json(
        grow(
            """
            name: w
            vars: {rate: "5"}
            bind:
              - {name: a, type: push, rateLogging: "{{ rate }}"}
              - {name: b, type: push, rateLogging: "{{ task_id }}"}
            roles: [{name: t, task: {load: t}}]
            """
        )
    )

    for channels in (tree["bind"], tree["children"][0]["task"]["bind"]):
        assert [channel["rateLogging"] for channel in channels] == ["5", "{{ task_id }}"]
