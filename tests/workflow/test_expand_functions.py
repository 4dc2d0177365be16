"""Functions of the configuration, of integrations and of generated templates, and payloads that use them."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError, TemplateError, UsageError
from tests.workflow.growing import At, Grow, paths


def test_functions_of_the_configuration(grow: Grow, at: At) -> None:
    kv = {
        "o2/hardware/detectors/ITS/flps/h1/x": "1",
        "o2/hardware/flps/h1/cards": '{"0": {"serial": "7", "endpoint": "1"}, "1": {"serial": "7", "endpoint": "0"}}',
        "o2/components/c/PHYSICS/any/e": "value of {{ v }} {% include 'part' %}",
        "o2/components/c/PHYSICS/any/part": "{{ strings.ToUpper(v) }}",
        "o2/components/c/ANY/r/e": "legacy {{ v }}",
        "o2/runtime/comp/key": "runtime",
    }
    expressions = {
        "detector": "inventory.DetectorForHost('h1')",
        "detectors": "inventory.DetectorsForHosts('[\\\"h1\\\"]')",
        "cards": "inventory.CRUCardsForHost('h1')",
        "endpoints": "inventory.EndpointsForCRUCard('h1', '7')",
        "resolved": "config.Resolve('c', 'PHYSICS', 'r', 'e')",
        "path": "config.ResolvePath('c/PHYSICS/x/e')",
        "got": "config.Get('c/PHYSICS/any/e')",
        "legacy": "config.GetLegacy('c/ANY/r/e')",
        "runtime": "runtime.Get('comp', 'key')",
        "old": "DetectorForHost('h1')",
    }
    lines = "".join(f'      {name}: "{{{{ {text} }}}}"\n' for name, text in expressions.items())
    workflow = grow(f"name: w\nroles:\n  - name: t\n    task: {{load: t}}\n    vars:\n{lines}", {"v": "x"}, kv)

    assert at(workflow, "w.t").vars == {
        "detector": "ITS",
        "detectors": '["ITS"]',
        "cards": '["7"]',
        "endpoints": "0 1",
        "resolved": "c/ANY/r/e",
        "path": "c/PHYSICS/any/e",
        "got": "value of x X",
        "legacy": "legacy x",
        "runtime": "runtime",
        "old": "ITS",
    }


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("inventory.DetectorForHost('h9')", "host 'h9' belongs to no detector"),
        ("inventory.DetectorsForHosts('h9')", "not a JSON list of host names"),
        ("inventory.CRUCardsForHost('h9')", "no cards of host 'h9'"),
        ("config.Resolve('c', 'PHYSICS', 'r', 'e')", "could not resolve configuration path c/PHYSICS/r/e"),
        ("config.Resolve('c', 'PHYSIC', 'r', 'e')", "unknown run type 'PHYSIC'"),
        ("config.Get('c/ANY/any/e')", "no payload at configuration path c/ANY/any/e"),
        ("config.GetLegacy('c/ANY/any/e')", "no payload at configuration path c/ANY/any/e"),
        ("config.ResolvePath('c')", "bad configuration path"),
        ("runtime.Get('a', 'b')", "there is no runtime value a/b"),
        ("runtime.Set('a', '', 'x')", "needs a component and a key"),
        ("dpl.Generate('rm -rf x')", "dpl.Generate is off: it would run this shell command"),
        ("dpl.Generate(' none ')", "there is no such command"),
        ("dpl.GenerateFromUri('')", "there is no such command"),
        ("dpl.GenerateFromUri('ctp-reco')", "it would run the shell command in jit/ctp-reco"),
        ("dpl.GenerateFromUriOrFallbackToTemplate('a b/c')", "names no template"),
        ("ToPtree('x', 'json')", "only in the `properties` of a task template"),
        ("util.Dump('a', '/tmp/b')", "util.Dump is off"),
        ("odc.GenerateEPNWorkflowScript()", "belongs to the integration 'odc', which is not loaded"),
        ("strings.Nothing('a')", "unknown function strings.Nothing"),
    ],
)
def test_functions_that_fail_raise(grow: Grow, expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        grow(f'name: w\nroles:\n  - name: t\n    task: {{load: t}}\n    vars:\n      a: "{{{{ {expression} }}}}"\n')
    assert (caught.value.line, caught.value.path) == (6, "w.t")


def test_an_empty_runtime_key_asks_for_nothing(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "<{{ runtime.Get('c', '') }}>"}, task: {load: t}}
        """
    )

    assert at(workflow, "w.a").vars["x"] == "<>"


def test_runtime_set_is_an_overlay_that_the_caller_gets(grow: Grow, at: At) -> None:
    writes: dict[str, str] = {}
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "{{ runtime.Set('c', 'k', 'new') }}"}, task: {load: t}}
          - {name: b, vars: {x: "{{ runtime.Get('c', 'k') }}"}, task: {load: t}}
        """,
        kv={"o2/runtime/c/k": "old"},
        writes=writes,
    )

    assert writes == {"o2/runtime/c/k": "new"}
    assert (at(workflow, "w.a").vars, at(workflow, "w.b").vars) == ({"x": "new"}, {"x": "new"})


def test_what_runtime_set_wrote_goes_along_with_the_workflow(grow: Grow) -> None:
    workflow = grow("{name: w, vars: {x: \"{{ runtime.Set('c', 'k', 'new') }}\"}, roles: [{name: t, task: {load: t}}]}")

    assert workflow.runtime == {"o2/runtime/c/k": "new"}


_FALLBACK = "dpl.GenerateFromUriOrFallbackToTemplate"


def test_a_workflow_that_no_command_generates_is_the_template_of_that_name(grow: Grow) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": f"{{name: w, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
            "workflows/plain.yaml": "{name: plain, roles: [{name: t, task: {load: t}}]}",
        }
    )

    assert paths(workflow) == ["w", "w.i", "w.i.t"]


def test_a_workflow_that_a_command_generates_is_not_the_template_of_that_name(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="it would run the shell command in jit/plain"):
        grow(
            {
                "workflows/w.yaml": f"{{name: w, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
                "workflows/plain.yaml": "{name: plain, roles: [{name: t, task: {load: t}}]}",
                "jit/plain": "o2-workflow",
            }
        )


def test_commands_that_generate_are_those_of_the_repository_of_the_template(grow: Grow) -> None:
    other = {
        "workflows/x.yaml": f"{{name: x, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
        "jit/plain": "o2-workflow",
    }

    with pytest.raises(ExpressionError, match="it would run the shell command in jit/plain"):
        grow("{name: w, roles: [{name: o, include: host/a/b/workflows/x}]}", others={"host/a/b": other})


def test_payloads_see_variables_functions_and_statements(grow: Grow, at: At) -> None:
    kv = {
        "o2/components/c/ANY/any/e": "{% for d in json.Unmarshal(detectors) %}{% if d == 'TPC' %}{{ d | lower }}"
        "{% else %}{{ v }}-{{ d }}{{ loop.index }}{% include 'part' %}{% endif %};{% endfor %}",
        "o2/components/c/ANY/any/part": "({{ d | len }})",
    }
    workflow = grow(
        "{name: w, roles: [{name: t, task: {load: t}, vars: {x: \"{{ config.Get('c/ANY/any/e') }}\"}}]}",
        {"v": "x", "detectors": '["TPC", "ITS"]'},
        kv,
    )

    assert at(workflow, "w.t").vars["x"] == "tpc;x-ITS2(3);"


@pytest.mark.parametrize(
    ("function", "payload", "place", "reason"),
    [
        ("config.Get", "a\n {{ v + 1 }}", (2, 2), "does not work"),
        ("config.Get", "a\n {% if v %}{% endif %}", (2, 2), "a condition must be a bool"),
        ("config.Get", "{{ nothing }}", (1, 1), "unknown variable 'nothing'"),
        ("config.GetLegacy", "a\n {{ v + 1 }}", (2, 7), "does not work"),
        ("config.GetLegacy", "{{ nothing }}", (1, 4), "unknown variable 'nothing'"),
        ("config.GetLegacy", "{{", (1, 1), "{{ is not closed"),
    ],
)
def test_faults_in_payloads_are_told_in_the_payload(
    grow: Grow, function: str, payload: str, place: tuple[int, int], reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        grow(
            f"name: w\nvars: {{x: \"{{{{ {function}('c/ANY/any/e') }}}}\"}}\nroles: [{{name: t, task: {{load: t}}}}]",
            {"v": "x"},
            {"o2/components/c/ANY/any/e": payload},
        )
    assert (caught.value.file, caught.value.line, caught.value.column) == ("c/ANY/any/e", *place)


def test_an_administrator_may_allow_generation(grow: Grow) -> None:
    asked: list[tuple[str, str]] = []

    def dpl(method: str, argument: str) -> str:
        asked.append((method, argument))
        return "generated"

    workflow = grow(
        {
            "workflows/w.yaml": """{name: w, roles: [{name: i, include: "{{ dpl.GenerateFromUri('qc') }}"}]}""",
            "workflows/generated.yaml": "{name: generated, roles: [{name: t, task: {load: t}}]}",
        },
        allow={"dpl": dpl},
    )

    assert paths(workflow) == ["w", "w.i", "w.i.t"]
    assert asked == [("GenerateFromUri", "qc")]


def test_integrations_give_texts(grow: Grow, at: At) -> None:
    template = "{name: w, roles: [{name: t, vars: {a: '{{ odc.Script() }}'}, task: {load: t}}]}"

    assert at(grow(template, integrations={"odc.Script": "run"}), "w.t").vars == {"a": "run"}
    assert at(grow(template, integrations={"odc.Script()": "run"}), "w.t").vars == {"a": "run"}
    with pytest.raises(ExpressionError, match=r"unknown function odc.Script"):
        grow(template, integrations={"odc.Other": "x"})
    with pytest.raises(UsageError, match="defined twice"):
        grow(template, integrations={"strings.Atoi": "x"})


def test_an_integration_that_is_not_loaded_matters_only_where_it_is_called(grow: Grow, at: At) -> None:
    template = """{name: w, roles: [{name: t, vars: {a: "{{ on == 'true' ? odc.Script() : '' }}"}, task: {load: t}}]}"""

    assert at(grow(template, {"on": "false"}), "w.t").vars == {"a": ""}


def test_ids_come_from_the_source_that_is_given(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "{{ uid.New() }}-{{ uid.New() }}"}, task: {load: t}}
          - {name: b, vars: {x: "{{ NewID() }}"}, task: {load: t}}
        """
    )

    assert [at(workflow, path).vars["x"] for path in ("w.a", "w.b")] == ["id1-id2", "id3"]
