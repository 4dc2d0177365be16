"""Commands, properties, run arguments and calls: what is evaluated late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libecs.config.tree import Tree
from libecs.errors import ExpressionError, TemplateError
from libecs.language.variables import Origin
from libecs.workflow.channels import Endpoint, resolve
from libecs.workflow.launch import Command, Launcher, camel, late_functions, task_specials
from libecs.workflow.role import Workflow

Grow = Callable[..., Workflow]
SPECIALS = {"task_hostname": "h1", "task_id": "7", "environment_id": "e1"}


def launcher(grow: Grow, task: str, role: str = "", workflow: str = "", **options: object) -> Launcher:
    """Return a launcher of `w.t`, role number 1, of a task class with the text `task`."""
    text = workflow or f"{{name: w, roles: [{{name: t, task: {{load: own}}{role}}}]}}"
    return Launcher(grow({"workflows/w.yaml": text, "tasks/own.yaml": f"name: own\n{task}"}, **options))


def test_a_command_is_a_list_of_arguments(grow: Grow) -> None:
    made = launcher(
        grow,
        """
control: {mode: basic}
command:
  value: "{{ program }}"
  arguments: ["--host={{ task_hostname }}", "a b", "{{ empty }}"]
  env: ["A={{ a }}", "B=x=y", "C="]
  user: " {{ who }} "
  cwd: " /tmp/{{ who }} "
  stdout: " ALL "
  stderr: "{{ 'stdout' }}"
""",
        ", vars: {program: /bin/x, a: '1', who: flp, empty: ''}",
    )

    assert made.command(1, SPECIALS) == Command(
        argv=("/bin/x", "--host=h1", "a b", ""),
        environment={"A": "1", "B": "x=y", "C": ""},
        user="flp",
        cwd="/tmp/flp",
        stdout="all",
        stderr="stdout",
    )


def test_a_shell_command_joins_its_words_as_they_are(grow: Grow) -> None:
    made = launcher(
        grow,
        "command: {shell: true, value: 'cd /x && run', arguments: [\"--url='{{ url }}'\", ' ', '-c']}",
        ", vars: {url: 'a b'}",
    )

    command = made.command(1, SPECIALS, extra_arguments=["--id", "7"])

    assert command.argv == ("/bin/sh", "-c", "cd /x && run --url='a b'   -c --id 7")
    assert command.shell


def test_a_line_break_after_the_command_does_not_cut_its_arguments_off(grow: Grow) -> None:
    made = launcher(grow, "command:\n  shell: true\n  value: |\n    run\n  arguments: [-c]\n")

    assert made.command(1, SPECIALS).argv[2] == "run -c"


@pytest.mark.parametrize(
    ("role", "specials", "overlay", "seen"),
    [
        ("", {}, {}, "class var"),
        (", defaults: {x: role default}", {}, {}, "role default"),
        (", vars: {x: role var}", {}, {}, "role var"),
        (", vars: {x: role var}", {}, {"w": {"x": "runtime of the root"}}, "runtime of the root"),
        (", vars: {x: role var}", {}, {"w": {"x": "a"}, "w.t": {"x": "runtime of the role"}}, "runtime of the role"),
        (", vars: {x: role var}", {"x": "special"}, {"w.t": {"x": "runtime"}}, "special"),
    ],
)
def test_precedence_is_the_same_for_commands_and_properties(
    grow: Grow, role: str, specials: dict[str, str], overlay: dict[str, dict[str, str]], seen: str
) -> None:
    task = """
defaults: {x: class default}
vars: {x: class var}
command: {value: "{{ x }}"}
properties: {p: "{{ x }}"}
"""
    made = launcher(grow, task, role)

    assert made.command(1, {**SPECIALS, **specials}, overlay).argv == (seen,)
    assert made.properties(1, {**SPECIALS, **specials}, overlay)["p"] == seen


def test_variables_of_a_class_need_each_other_in_any_order(grow: Grow) -> None:
    made = launcher(
        grow,
        """
defaults: {a: "{{ b }}!", c: "{{ task_hostname }}", unused: "{{ nowhere }}"}
vars: {b: "{{ c }}-{{ role }}"}
command: {value: "{{ a }}"}
properties: {p: "{{ a }}{{ b }}"}
""",
        ", vars: {role: r}",
    )

    assert made.command(1, SPECIALS).argv == ("h1-r!",)
    assert made.properties(1, SPECIALS)["p"] == "h1-r!h1-r"


def test_variables_that_need_themselves_are_an_error(grow: Grow) -> None:
    made = launcher(grow, "defaults: {a: '{{ b }}', b: '{{ a }}'}\ncommand: {value: '{{ a }}'}\n")

    with pytest.raises(ExpressionError, match="'a' of the task template needs itself: a -> b -> a") as caught:
        made.command(1, SPECIALS)
    assert (caught.value.file, caught.value.path) == ("tasks/own.yaml", "w.t")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("{value: '{{ nowhere }}'}", "unknown variable 'nowhere'"),
        ("{value: x, stdout: some}", "`stdout` is 'some'"),
        ("{value: x, stderr: '{{ task_hostname }}'}", "`stderr` is 'h1'"),
        ("{value: \"{{ '' }}\"}", "the command is empty text"),
    ],
)
def test_wrong_commands_are_errors_of_the_role(grow: Grow, command: str, reason: str) -> None:
    made = launcher(grow, f"command: {command}")

    with pytest.raises(TemplateError, match=reason) as caught:
        made.command(1, SPECIALS)
    assert (caught.value.file, caught.value.path) == ("tasks/own.yaml", "w.t")


def test_roles_are_known_at_launch(grow: Grow) -> None:
    made = launcher(grow, "command: {value: '{{ Parent().Path }}', arguments: ['{{ This().Path }}']}")

    assert made.command(1, SPECIALS).argv == ("w", "w.t")


def test_no_fresh_ids_at_launch(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="would give another id each time"):
        launcher(grow, "command: {value: 'x-{{ uid.New() }}'}").command(1, SPECIALS)


def test_the_configuration_is_there_at_launch_if_it_is_given(grow: Grow) -> None:
    made = launcher(grow, "command: {value: \"{{ runtime.Get('c', 'k') }}\"}")

    with pytest.raises(ExpressionError, match="there is no runtime value c/k"):
        made.command(1, SPECIALS)
    tree = Tree.of({"o2/runtime/c/k": "v"})
    assert Launcher(made.workflow, late_functions(tree)).command(1, SPECIALS).argv == ("v",)


def test_an_attached_task_has_an_endpoint(grow: Grow) -> None:
    made = launcher(grow, "control: {endpoint: 'tcp://{{ board }}:47100'}", ", vars: {board: b1}")

    assert made.endpoint(1, SPECIALS) == "tcp://b1:47100"
    assert launcher(grow, "command: {value: x}").endpoint(1, SPECIALS) == ""
    with pytest.raises(ExpressionError, match="unknown variable 'board'"):
        launcher(grow, "control: {endpoint: 'tcp://{{ board }}:47100'}").endpoint(1, SPECIALS)


def test_properties_are_those_of_the_class_and_of_the_channels(grow: Grow) -> None:
    made = launcher(
        grow,
        "command: {value: x}\nproperties: {a: '{{ task_hostname }}', b: plain}\n",
        workflow="""
            name: w
            vars: {rate: "10"}
            roles: [{name: t, bind: [{name: c, type: push, rateLogging: "{{ rate }}"}], task: {load: own}}]
            """,
    )
    channels = resolve(made.workflow, {("w.t", "c"): Endpoint(bind="tcp://*:1", connect="tcp://h:1")})["w.t"]

    properties = made.properties(1, SPECIALS, {}, channels)

    assert (properties["environment_id"], properties["a"], properties["b"]) == ("e1", "h1", "plain")
    assert (properties["chans.c.0.rateLogging"], properties["chans.c.0.address"]) == ("10", "tcp://*:1")
    assert "orbit-reset-time" not in properties


def test_the_orbit_reset_time_is_told_if_it_is_overridden(grow: Grow) -> None:
    made = launcher(grow, "command: {value: x}", ", vars: {pdp_override_run_start_time: '12'}")

    assert made.properties(1, SPECIALS)["orbit-reset-time"] == "12"


def test_basic_and_hook_tasks_are_told_nothing(grow: Grow) -> None:
    task = "control: {mode: basic}\ncommand: {value: x}\nproperties: {a: '{{ nowhere }}'}\n"

    assert launcher(grow, task).properties(1, SPECIALS) == {}


def test_wrong_properties_are_errors_of_the_role(grow: Grow) -> None:
    made = launcher(grow, "command: {value: x}\nproperties: {a: '{{ nowhere }}'}\n")

    with pytest.raises(ExpressionError, match="unknown variable 'nowhere'") as caught:
        made.properties(1, SPECIALS)
    assert caught.value.path == "w.t"


def test_start_and_stop_tell_the_run_in_both_spellings(grow: Grow) -> None:
    made = launcher(grow, "command: {value: x}", variables={"run_type": "PHYSICS", "fill_info_fill_number": "1"})
    overlay = {"w": {"run_start_time_ms": "5", "run_end_time_ms": "", "other": "x"}, "w.t": {"lhc_period": "below"}}

    assert made.start_arguments(42, 3, overlay) == {
        "runNumber": "42",
        "run_number": "42",
        "cleanup": "3",
        "run_type": "PHYSICS",
        "runType": "PHYSICS",
        "fill_info_fill_number": "1",
        "fillInfoFillNumber": "1",
        "run_start_time_ms": "5",
        "runStartTimeMs": "5",
        "run_end_time_ms": "",
        "runEndTimeMs": "",
    }
    assert made.stop_arguments(overlay) == {
        "fill_info_fill_number": "1",
        "fillInfoFillNumber": "1",
        "run_end_time_ms": "",
        "runEndTimeMs": "",
    }


def test_camel_case() -> None:
    assert camel("fill_info_stable_beams_start_ms") == "fillInfoStableBeamsStartMs"


def test_task_specials(grow: Grow) -> None:
    made = launcher(grow, "command: {value: x}")

    assert task_specials(made.workflow.roles[1], task_id="7", host="h1", environment_id="e1") == {
        "task_name": "own#7",
        "task_id": "7",
        "task_class_name": "own",
        "task_hostname": "h1",
        "environment_id": "e1",
        "task_parent_role": "w.t",
    }


def test_a_call_gets_its_arguments_and_all_variables(grow: Grow) -> None:
    workflow = grow(
        """
        name: w
        vars: {a: "1"}
        roles:
          - name: c
            vars: {b: "2"}
            call:
              func: odc.Start(a, __call_rolepath)
              trigger: before_X-1
              await: after_X
              timeout: 1m30s
              critical: false
        """
    )

    made = Launcher(workflow).call(1, "e1", {"w": {"a": "new"}})

    assert (made.call.integration, made.call.method, made.call.arguments) == ("odc", "Start", ("new", "w.c"))
    assert made.variables == {
        "a": "new",
        "b": "2",
        "environment_id": "e1",
        "__call_func": "odc.Start(a, __call_rolepath)",
        "__call_timeout": "1m30s",
        "__call_trigger": "before_X-1",
        "__call_await": "after_X",
        "__call_critical": "false",
        "__call_rolepath": "w.c",
    }


def test_a_call_whose_argument_fails_is_an_error_of_the_role(grow: Grow) -> None:
    workflow = grow("{name: w, roles: [{name: c, call: {func: x.Y(nowhere), trigger: DESTROY}}]}")

    with pytest.raises(ExpressionError, match="unknown variable 'nowhere'") as caught:
        Launcher(workflow).call(1, "e1")
    assert caught.value.path == "w.c"


def test_explain_goes_through_all_layers(grow: Grow) -> None:
    made = launcher(
        grow,
        "defaults: {x: class}\nvars: {x: '{{ y }}'}\ncommand: {value: z}\n",
        workflow="""
            name: w
            defaults: {x: d0}
            vars: {x: v0}
            roles: [{name: t, defaults: {x: d1}, vars: {x: v1}, task: {load: own}}]
            """,
        variables={"x": "user"},
        base_vars={"x": "bv"},
        base_defaults={"x": "bd"},
    )

    assert [(o.layer, o.role, o.value) for o in made.explain(1, "x", {"w": {"x": "now"}})] == [
        ("runtime", "w", "now"),
        ("user", "", "user"),
        ("vars", "w.t", "v1"),
        ("vars", "w", "v0"),
        ("vars", "", "bv"),
        ("defaults", "w.t", "d1"),
        ("defaults", "w", "d0"),
        ("defaults", "", "bd"),
        ("class vars", "own", "{{ y }}"),
        ("class defaults", "own", "class"),
    ]
    assert made.explain(0, "x")[0] == Origin(layer="user", role="", value="user")
    assert made.explain(1, "nothing") == ()


def test_late_texts_see_what_runtime_set_wrote_while_expanding(grow: Grow) -> None:
    made = launcher(
        grow,
        "properties: {a: \"{{ runtime.Get('c', 'k') }}\", b: \"{{ runtime.Get('c', '') }}\"}\ncommand: {value: x}",
        ", vars: {v: \"{{ runtime.Set('c', 'k', 'new') }}\"}",
    )

    assert made.properties(1, SPECIALS) == {"environment_id": "e1", "a": "new", "b": ""}


def test_late_texts_read_other_runtime_values_and_write_none(grow: Grow) -> None:
    workflow = "{name: w, roles: [{name: t, task: {load: own}}]}"
    task = 'name: own\ncommand: {value: x}\nproperties: {a: "{{ runtime.FUNCTION }}"}'
    tree = Tree.of({"o2/runtime/c/k": "kept"})
    read, write = (
        Launcher(
            grow({"workflows/w.yaml": workflow, "tasks/own.yaml": task.replace("FUNCTION", function)}),
            late_functions(tree),
        )
        for function in ("Get('c', 'k')", "Set('c', 'k', 'v')")
    )

    assert read.properties(1, SPECIALS)["a"] == "kept"
    with pytest.raises(ExpressionError, match=r"runtime.Set works only where a workflow is loaded"):
        write.properties(1, SPECIALS)


def test_a_property_may_be_a_tree(grow: Grow) -> None:
    made = launcher(
        grow,
        """
command: {value: x}
properties: {qc: "{{ ToPtree(payload, 'json') }}", same: "{{ ToPtree(payload, 'json') }}"}
""",
        ", vars: {payload: '{\"a\": 1}'}",
    )

    found = made.properties(1, SPECIALS)

    key = found["qc"]
    assert key.startswith("__ptree__:json:")
    assert found == {"environment_id": "e1", "qc": key, "same": key, key: '{"a": 1}'}
    assert made.properties(1, SPECIALS) == found


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("properties: {a: \"{{ ToPtree('x', 'yaml') }}\"}", "ToPtree does not know the syntax 'yaml'"),
        ("properties: {a: \"{{ ToPtree('x') }}\"}", "ToPtree takes 2 arguments"),
        ("properties: {a: \"{{ dpl.Generate('x') }}\"}", "works only where a workflow is loaded"),
    ],
)
def test_wrong_trees_and_generations(grow: Grow, task: str, reason: str) -> None:
    made = launcher(grow, f"command: {{value: x}}\n{task}")

    with pytest.raises(ExpressionError, match=reason):
        made.properties(1, SPECIALS)


def test_no_trees_in_commands(grow: Grow) -> None:
    made = launcher(grow, "command: {value: \"{{ ToPtree('x', 'json') }}\"}")

    with pytest.raises(ExpressionError, match="only in the `properties` of a task template"):
        made.command(1, SPECIALS)
