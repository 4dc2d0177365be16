"""Channels: collection, aliases, targets and the properties that tell tasks about them."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import TemplateError
from libecs.workflow.channels import Endpoint, bound, collect, resolve
from libecs.workflow.role import Channel
from tests.workflow.growing import At, Grow

_CHANNELS = st.lists(
    st.builds(Channel, name=st.sampled_from("abcd"), type=st.just("push"), send_buffer=st.integers(1, 3)), max_size=5
)

PAIR = """
    name: w
    roles:
      - name: source
        bind:
          - {name: out, type: push, transport: shmem, addressing: ipc, rateLogging: "{{ rate }}", global: "out-{{ x }}"}
        task: {load: t}
      - name: sink
        connect:
          - {name: by-path, type: pull, target: "{{ Parent().Path }}.source:out", sndBufSize: "4"}
          - {name: by-alias, type: pull, target: "::out-{{ x }}", rcvBufSize: 8}
          - {name: fixed, type: sub, target: "tcp://elsewhere:1", transport: zeromq}
        task: {load: f}
    """


def test_the_nearest_of_a_name_wins_entirely(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                bind: [{name: a, type: push, transport: zeromq, sndBufSize: 5}, {name: root, type: push}]
                roles:
                  - name: t
                    bind: [{name: a, type: pull}]
                    task: {load: own}
                """,
            "tasks/own.yaml": """
                name: own
                command: {value: x}
                bind: [{name: a, type: pub}, {name: class, type: pub}]
                """,
        }
    )

    role = at(workflow, "w.t")
    assert [(channel.name, channel.type) for channel in role.bind] == [
        ("a", "pull"),
        ("root", "push"),
        ("class", "pub"),
    ]
    assert (role.bind[0].send_buffer, role.bind[0].transport) == (1000, "default")
    assert role.own_bind == 1


def test_a_connect_of_a_task_class_has_no_target_and_is_an_error_unless_a_role_gives_one(grow: Grow, at: At) -> None:
    tasks = {
        "tasks/own.yaml": "{name: own, command: {value: x}, connect: [{name: c, type: sub, target: 'ipc://ignored'}]}"
    }
    with pytest.raises(TemplateError, match="outbound channel 'c' has no target"):
        grow({"workflows/w.yaml": "{name: w, roles: [{name: t, task: {load: own}}]}", **tasks})

    given_by_role = """
        name: w
        connect: [{name: c, type: sub, target: "ipc://x"}]
        roles: [{name: t, task: {load: own}}]
        """
    assert [channel.target for channel in at(grow({"workflows/w.yaml": given_by_role, **tasks}), "w.t").connect] == [
        "ipc://x"
    ]


def test_global_names_and_targets_of_a_task_class_are_evaluated_for_each_role(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles:
                  - name: "{{ it }}"
                    for: {range: '["a","b"]', var: it}
                    task: {load: own}
                """,
            "tasks/own.yaml": """
                name: own
                defaults: {prefix: from-class}
                command: {value: x}
                bind: [{name: c, type: push, global: "{{ prefix }}-{{ it }}"}]
                constraints: [{attribute: machine_id, value: "{{ it }}"}]
                """,
        }
    )

    assert [at(workflow, f"w.{name}").bind[0].global_ for name in "ab"] == ["from-class-a", "from-class-b"]
    assert [at(workflow, f"w.{name}").constraints[0].value for name in "ab"] == ["a", "b"]


def test_properties_of_both_ends(grow: Grow) -> None:
    workflow = grow(PAIR, {"x": "1", "rate": "10"})
    endpoints = {("w.source", "out"): Endpoint(bind="ipc://@a", connect="ipc://@a")}

    properties = resolve(workflow, endpoints)

    assert properties["w.source"] == {
        "chans.out.numSockets": "1",
        "chans.out.0.address": "ipc://@a",
        "chans.out.0.method": "bind",
        "chans.out.0.rateLogging": "{{ rate }}",
        "chans.out.0.rcvBufSize": "1000",
        "chans.out.0.rcvKernelSize": "0",
        "chans.out.0.sndBufSize": "1000",
        "chans.out.0.sndKernelSize": "0",
        "chans.out.0.transport": "shmem",
        "chans.out.0.type": "push",
        "chans.out.0.autoBind": "0",
    }
    sink = properties["w.sink"]
    assert sink["chans.by-path.0.address"] == sink["chans.by-alias.0.address"] == "ipc://@a"
    assert sink["chans.by-path.0.transport"] == "shmem"
    assert sink["chans.by-path.0.method"] == "connect"
    assert (sink["chans.by-path.0.sndBufSize"], sink["chans.by-alias.0.rcvBufSize"]) == ("4", "8")
    assert (sink["chans.fixed.0.address"], sink["chans.fixed.0.transport"]) == ("tcp://elsewhere:1", "zeromq")
    assert "chans.by-path.0.autoBind" not in sink


def test_tcp_ends_get_their_own_spelling_of_the_address(grow: Grow) -> None:
    workflow = grow(PAIR, {"x": "1", "rate": "0"})
    endpoints = {("w.source", "out"): Endpoint(bind="tcp://*:9000", connect="tcp://h1:9000")}

    properties = resolve(workflow, endpoints)

    assert properties["w.source"]["chans.out.0.address"] == "tcp://*:9000"
    assert properties["w.sink"]["chans.by-alias.0.address"] == "tcp://h1:9000"


@pytest.mark.parametrize(
    ("fixed", "seen"), [("tcp://*:7000", "tcp://h1:7000"), ("tcp://h2:7000", "tcp://h2:7000"), ("ipc://x", "ipc://x")]
)
def test_a_fixed_address_of_an_inbound_channel(grow: Grow, fixed: str, seen: str) -> None:
    workflow = grow(
        f"""
        name: w
        roles:
          - {{name: a, bind: [{{name: out, type: push, target: "{fixed}"}}], task: {{load: t}}}}
          - {{name: b, connect: [{{name: in, type: pull, target: "w.a:out"}}], task: {{load: t}}}}
        """
    )
    properties = resolve(workflow, {("w.a", "out"): Endpoint(bind="tcp://*:9000", connect="tcp://h1:9000")})

    assert properties["w.a"]["chans.out.0.address"] == fixed
    assert properties["w.b"]["chans.in.0.address"] == seen


def test_a_fixed_address_must_be_one(grow: Grow) -> None:
    with pytest.raises(TemplateError, match="fixed address of inbound channel 'a' is 'elsewhere'"):
        grow("{name: w, roles: [{name: t, bind: [{name: a, type: push, target: elsewhere}], task: {load: t}}]}")


def test_a_task_without_its_endpoints_is_left_out(grow: Grow) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, bind: [{name: out, type: push}], task: {load: t, critical: false}}
          - {name: b, connect: [{name: in, type: pull, target: "w.a:out"}], task: {load: t, critical: false}}
        """
    )

    assert resolve(workflow, {}) == {"w.b": {}}


def test_a_critical_task_that_needs_one_that_does_not_run_is_an_error(grow: Grow) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, bind: [{name: out, type: push}], task: {load: t, critical: false}}
          - {name: b, connect: [{name: in, type: pull, target: "w.a:out"}], task: {load: t}}
        """
    )

    with pytest.raises(TemplateError, match="connects to 'w.a:out', whose task does not run"):
        resolve(workflow, {})


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("::nobody", "global names of this workflow: g"),
        ("w.part:out", "w.part is no task"),
        ("w.part.a:other", "w.part.a binds out"),
        ("w.part.basic:out", "w.part.basic is a basic task, which gets no channels"),
        ("w.gone:out", "there is no role w.gone: is it disabled, or renamed?"),
        ("nothing", "write role.path:channel"),
    ],
)
def test_a_target_that_leads_nowhere_is_an_error_that_says_why(grow: Grow, target: str, hint: str) -> None:
    with pytest.raises(TemplateError, match="which is no channel of this workflow") as caught:
        grow(
            f"""\
            name: w
            roles:
              - name: part
                roles:
                  - {{name: a, bind: [{{name: out, type: push, global: g}}], task: {{load: t}}}}
                  - {{name: basic, bind: [{{name: out, type: push}}], task: {{load: b}}}}
              - {{name: gone, enabled: "false", task: {{load: t}}}}
              - {{name: s, connect: [{{name: in, type: pull, target: "{target}"}}], task: {{load: t}}}}
            """
        )
    assert hint in caught.value.hint
    assert (caught.value.path, caught.value.line) == ("w.s", 8)


def test_basic_and_hook_tasks_have_no_channels(grow: Grow) -> None:
    workflow = grow(
        """
        name: w
        connect: [{name: in, type: pull, target: "nowhere:at-all"}]
        bind: [{name: out, type: push, global: g}]
        roles:
          - {name: basic, task: {load: b}}
          - {name: hook, task: {load: b, trigger: DESTROY}}
        """
    )

    assert bound(workflow) == {}
    assert resolve(workflow, {}) == {}


def test_a_global_name_stands_for_one_channel(grow: Grow) -> None:
    with pytest.raises(
        TemplateError, match="global channel name 'g' of channel 'out' is taken by channel 'out' of w.a"
    ):
        grow(
            """
            name: w
            bind: [{name: out, type: push, global: g}]
            roles: [{name: a, task: {load: t}}, {name: b, task: {load: t}}]
            """
        )


@given(_CHANNELS, _CHANNELS)
def test_collected_channels_have_each_name_once_and_keep_the_nearest(own: list[Channel], above: list[Channel]) -> None:
    collected = collect(own, above)
    names = [channel.name for channel in collected]

    assert len(set(names)) == len(names)
    assert set(names) == {channel.name for channel in (*own, *above)}
    for channel in collected:
        assert channel is next(other for other in (*own, *above) if other.name == channel.name)


@given(_CHANNELS, _CHANNELS, _CHANNELS)
def test_collecting_is_associative(a: list[Channel], b: list[Channel], c: list[Channel]) -> None:
    assert collect(collect(a, b), c) == collect(a, collect(b, c))


def test_a_workflow_that_was_not_checked_is_refused_when_it_is_resolved(grow: Grow) -> None:
    workflow = grow(PAIR, {"x": "1", "rate": "0"})
    roles = tuple(
        attrs.evolve(role, connect=tuple(attrs.evolve(channel, target="w.gone:x") for channel in role.connect))
        for role in workflow.roles
    )

    with pytest.raises(TemplateError, match="'w.gone:x', which is no channel of this workflow"):
        resolve(
            attrs.evolve(workflow, roles=roles), {("w.source", "out"): Endpoint(bind="ipc://@a", connect="ipc://@a")}
        )
