"""What can be said of a DPL command without running it."""

from __future__ import annotations

import pytest

from libecs.workflow.generation import configuration_uris, generated_name


@pytest.mark.parametrize(
    ("command", "uris"),
    [
        ("o2-qc --config consul-json://host:8500/o2/qc -b", ["consul-json://host:8500/o2/qc"]),
        ("o2-qc --config apricot://host/o2/qc|o2-proxy", ["apricot://host/o2/qc"]),
        ("o2-qc --config apricot://host/o2/qc\no2-proxy", ["apricot://host/o2/qc"]),
        ("o2-qc --config 'apricot://host/o2/qc' -b", ["apricot://host/o2/qc"]),
        ('o2-qc --config "apricot://host/o2/qc" -b', ["apricot://host/o2/qc"]),
        ("o2-qc --config apricot://host/o2/qc?a='b' -b", ["apricot://host/o2/qc?a='b'"]),
        ("\"apricot://host/o2/qc?a='b'\"", ["apricot://host/o2/qc?a='b'"]),
        ("a apricot://1 b consul-json://2 c apricot://3", ["apricot://1", "consul-json://2"]),
        ("o2-qc --config json://local.json", []),
    ],
)
def test_uris_of_configuration_are_found_in_a_command(command: str, uris: list[str]) -> None:
    assert list(configuration_uris(command)) == uris


def test_a_generated_name_depends_on_every_ingredient() -> None:
    base = ("command", "o2-O2-1.0", "A=1", ["payload"])
    names = {
        generated_name(*base),
        generated_name("other", *base[1:]),
        generated_name(base[0], "o2-O2-1.1", *base[2:]),
        generated_name(*base[:2], "A=2", base[3]),
        generated_name(*base[:3], ["changed"]),
    }

    assert len(names) == 5
    assert generated_name(*base) == generated_name(*base)
    assert len(generated_name(*base)) == len("jit-") + 40
