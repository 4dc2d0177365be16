"""Findings on channels: targets that lead nowhere, and addresses that are none."""

from __future__ import annotations

import pytest

from libecs.language.lint_channels import may_equal
from tests.language.linting import ALL, of, roles, told


def connected(target: str, *others: str, load: str = "stfb") -> str:
    return roles(
        "{name: readout, task: {load: readout}, bind: [{name: own, type: push, global: 'own-{{ hosts }}'}]}",
        "{name: basic, task: {load: basic}}",
        f"{{name: stfb, task: {{load: {load}}}, connect: [{{name: readout, type: pull, target: '{target}'}}]}}",
        *others,
    )


@pytest.mark.parametrize(
    "target",
    [
        "w.readout:data",
        "w.readout:own",
        "{{ Parent().Path }}.readout:data",
        "{{ Up(1).Path }}.{{ hosts }}:data",
        "{{ hosts }}:own",
        "{{ hosts }}",
        "other.readout:data",
        "::own-x",
        "::{{ hosts }}",
        "::o{{ hosts }}",
        "tcp://x:1",
        "ipc://y",
    ],
)
def test_targets_that_may_lead_somewhere(target: str) -> None:
    assert of("unknown-channel", connected(target), *ALL) == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("w.readout:dat", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no channel 'dat'; di"),
        ("w.readout:zzz", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no channel 'zzz'; it"),
        ("w.raedout:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.raedout` that bin"),
        ("{{ Parent().Path }}.x:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.x` th"),
        ("{{ Parent().Name }}.readout:x", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no"),
        ("{{ This().Path }}:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.stfb` tha"),
        ("w.basic:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.basic` that binds"),
        ("{{ Up(3).Path }}.x:data", "WARNING w.yaml:5:84: channel 'readout' leads nowhere: there is no task `*.x` tha"),
        ("::onw-x", "WARNING w.yaml:5:84: channel 'readout' leads nowhere: nothing here binds the global channel name"),
    ],
)  # fmt: skip
def test_targets_that_lead_nowhere(target: str, expected: str) -> None:
    (found,) = of("unknown-channel", connected(target), *ALL)

    assert found.startswith(expected)


def test_what_is_included_by_an_expression_or_missing_may_bind_anything() -> None:
    included = "{name: sub, include: '{{ hosts }}'}"
    missing = "{name: sub, task: {load: missing}}"

    for other in (included, missing):
        assert of("unknown-channel", connected("w.sub:any", other), *ALL, is_complete=False) == []
        assert of("unknown-channel", connected("::any", other), *ALL, is_complete=False) == []
    assert of("unknown-channel", connected("w.sub.deep.er:any", included), *ALL, is_complete=False) == []
    (found,) = of("unknown-channel", connected("w.x:any", included), *ALL, is_complete=False)
    assert found.startswith("ERROR")
    (found,) = of("unknown-channel", connected("v.x:any", missing), *ALL, is_complete=False)
    assert found.startswith("HINT")


def test_channels_of_included_templates_are_where_they_are_included() -> None:
    top = roles("{name: sub, include: inner, bind: [{name: outer, type: push}]}") + (
        "  - {name: user, task: {load: stfb}, connect: [{name: readout, type: pull, target: 'w.sub.r:data'},\n"
        "      {name: b, type: pull, target: 'w.sub.r:outer'}, {name: c, type: pull, target: 'w.sub.q:data'}]}\n"
    )
    inner = (
        "name: inner\nroles:\n  - {name: r, task: {load: readout}}\n"
        "  - {name: s, task: {load: stfb}, connect: [{name: readout, type: pull, target: '{{ Up(1).Path }}.r:data'}]}\n"
    )

    assert [one.split(": there")[0] for one in of("unknown-channel", top, inner, *ALL)] == [
        "ERROR w.yaml:5:85: channel 'c' leads nowhere"
    ]


def test_a_circle_of_includes_ends() -> None:
    one = "name: one\nroles: [{name: a, include: two}]\n"
    two = "name: two\nroles: [{name: b, include: one}]\n"

    assert told(one, two) == []


def test_outbound_channels_without_a_target() -> None:
    bare = roles(
        "{name: a, task: {load: stfb}}", "{name: b, task: {load: stfb}, connect: [{name: readout, type: pull}]}"
    )
    above = (
        "name: w\nconnect: [{name: readout, type: pull, target: 'ipc://x'}]\nroles: [{name: a, task: {load: stfb}}]\n"
    )

    assert [one.split(";")[0] for one in of("no-target", bare, *ALL)] == [
        "WARNING w.yaml:3:5: role 'a' has no target for channel 'readout' of its task 'stfb'",
        "ERROR w.yaml:4:45: outbound channel 'readout' of role 'b' has no target",
    ]
    assert of("no-target", above, *ALL) == []


def test_a_fixed_address_that_is_none() -> None:
    found = of("bad-address", roles("{name: a, task: {load: readout}, bind: [{name: x, type: push, target: y}]}"), *ALL)

    assert found[0].startswith("ERROR w.yaml:3:75: the fixed address of inbound channel 'x' is 'y'")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", True),
        ("a", "a", True),
        ("a", "b", False),
        ("a", "", False),
        ("\0", "", True),
        ("\0", "\0", True),
        ("a\0", "ab", True),
        ("a\0c", "abd", False),
        ("a\0", "\0b", True),
        ("\0a", "b\0", True),
        ("x\0a", "y\0a", False),
        ("a\0b\0c", "a1b2c", True),
        ("a\0\0b", "a\0b", True),
    ],
)
def test_patterns_that_have_a_text_in_common(one: str, other: str, expected: bool) -> None:
    assert may_equal(one, other) is expected
    assert may_equal(other, one) is expected
