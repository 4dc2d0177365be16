"""The examples of docs/language.md are true, and it names everything that there is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest
import yaml

from libecs.config import payload, statements
from libecs.config.tree import Tree
from libecs.errors import EcsError
from libecs.io.expansion import SMALL
from libecs.io.worker import LIMIT_S, MEMORY_BYTES
from libecs.language import fields, grammar, matcher, operators, task, template, values
from libecs.language import yaml as language_yaml
from libecs.language.functions import pure_functions
from libecs.language.loops import loop_names
from libecs.language.task import read_task
from libecs.workflow.expand import ExpansionLimits, expand
from libecs.workflow.render import to_lines
from libecs.workflow.role import Workflow
from libecs.workflow.services import Services
from libecs.workflow.source import TextSource

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
VARIABLES = {"detectors": '["ITS","TPC"]', "threshold": "5", "empty": ""}
TASKS = {
    "tasks/digitizer.yaml": "{name: digitizer, command: {value: d}}",
    "tasks/builder.yaml": "{name: builder, control: {mode: fairmq}, command: {value: b}}",
    "tasks/script.yaml": "{name: script, control: {mode: basic}, command: {value: s}}",
}


@attrs.frozen
class Block:
    """A fenced block: what stands behind its fence, its text, and the line where it begins."""

    info: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    for match in re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", page, re.MULTILINE):
        yield Block(match[1], match[2], page.count("\n", 0, match.start()) + 1)


TEXT = PAGE.read_text()
BLOCKS = list(blocks(TEXT))
(CONFIGURATION,) = (yaml.safe_load(block.text) for block in BLOCKS if block.info == "yaml configuration")


def grown(text: str, files: Mapping[str, str], kv: Mapping[str, str] | None = None) -> Workflow:
    name = re.search(r"^name: (?:!public )?(\S+)", text, re.MULTILINE)
    assert name is not None
    source = TextSource(files={**TASKS, **files, f"workflows/{name[1]}.yaml": text})
    ids = map(str, itertools.count(1))
    return expand(source, name[1], VARIABLES, Tree.of({**CONFIGURATION, **(kv or {})}), ids=lambda: next(ids))


def group(number: int) -> tuple[dict[str, str], str, str]:
    """Return the files, the tree and the values that stand behind workflow block `number`."""
    files: dict[str, str] = {}
    shown = {"tree": "", "values": ""}
    for block in BLOCKS[number + 1 :]:
        kind = block.info.removeprefix("yaml ")
        if kind.startswith("workflows/"):
            files[f"{kind}.yaml"] = block.text
        elif kind in shown:
            shown[kind] = block.text
        else:
            break
    return files, shown["tree"], shown["values"]


WORKFLOWS = [number for number, block in enumerate(BLOCKS) if block.info == "yaml workflow"]


@pytest.mark.parametrize("number", WORKFLOWS, ids=lambda number: f"line{BLOCKS[number].line}")
def test_a_workflow_gives_what_the_page_says(number: int) -> None:
    files, tree, values = group(number)

    workflow = grown(BLOCKS[number].text, files)

    assert tree or values, "an example shows what comes of it"
    if tree:
        assert to_lines(workflow) == tree.splitlines()
    variables = {role.path: role.vars for role in workflow.roles}
    for line in values.splitlines():
        path, name, value = re.fullmatch(r"(\S+): (\w+) = (.*)", line).groups()  # type: ignore[union-attr]
        assert variables[path][name] == value


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.info == "yaml task"], ids=lambda block: f"line{block.line}")
def test_a_task_template_is_read_without_findings(block: Block) -> None:
    assert read_task(block.text, "example.yaml", name="example").findings == ()


def expressions() -> Iterator[tuple[int, str, str]]:
    for block in BLOCKS:
        if block.info == "expr":
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                if not line.startswith("//"):
                    source, result = line.rsplit("-> ", 1)
                    yield number, source.strip(), result


def evaluated(source: str) -> str:
    """Return what the expression gives in the `vars` of a role below the root."""
    quoted = yaml.safe_dump({"got": "{{ " + source + " }}"}, width=100_000).strip()
    text = f"name: root\nroles:\n  - name: t\n    task: {{load: digitizer}}\n    vars:\n      {quoted}\n"
    return grown(text, {}).roles[1].vars["got"]


@pytest.mark.parametrize(("line", "source", "result"), list(expressions()), ids=lambda value: str(value)[:40])
def test_an_expression_gives_what_the_page_says(line: int, source: str, result: str) -> None:
    if result == "error":
        with pytest.raises(EcsError):
            evaluated(source)
        return
    found = evaluated(source)
    assert found == (yaml.safe_load(result) if result.startswith('"') else result)


def test_a_payload_is_rendered_as_the_page_says() -> None:
    (payload,) = (block.text for block in BLOCKS if block.info == "payload")
    (rendered,) = (block.text for block in BLOCKS if block.info == "rendered")
    text = "name: w\nvars: {x: \"{{ config.Get('qc/ANY/any/page') }}\"}\nroles: [{name: t, task: {load: script}}]"

    workflow = grown(text, {}, {"o2/components/qc/ANY/any/page": payload})

    assert workflow.roles[0].vars["x"] == rendered


def test_the_page_shows_every_function_and_key() -> None:
    code = "\n".join(block.text for block in BLOCKS if block.info == "expr")
    table = pure_functions(lambda: "").extended(Services(Tree(), {}, {}, {}).table())
    for path in table:
        name = ".".join(path)
        assert f"{name}(" in code or f"| {name}" in code or f"`{name}`" in TEXT, name
    for name in loop_names().split(", "):
        assert f"{name}(" in code, name
    keys = {
        *template._COMMON_KEYS,
        *template._TASK_KEYS,
        *template._CALL_KEYS,
        *fields._CHANNEL_KEYS,
        *fields._INBOUND_KEYS,
        *fields._SPEC_KEYS,
        *fields._CONDITIONS,
        *task._KEYS,
        *task._ROLE_KEYS,
        *task._ADDED_KEYS,
        *task.TASK_EVENTS,
        *task.SIGNALS,
        *(f"command.{key}" for key in task._COMMAND_KEYS),
    }
    for key in keys:
        assert re.search(rf"\b{re.escape(key)}\b", TEXT), key


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    limits = TEXT.partition("## Limits")[2].replace("\u00a0", " ")
    numbers = {int(number.replace(" ", "")) for number in re.findall(r"\d+(?: \d{3})*", limits)}
    counts = {
        values.MAX_DEPTH,
        values.MAX_ITEMS,
        values.MAX_LIST,
        values.MAX_JSON >> 10,
        values.MAX_TEXT >> 20,
        grammar.MAX_SOURCE,
        grammar.MAX_TOKENS,
        operators.MAX_STEPS,
        matcher.MAX_PATTERN,
        matcher.MAX_STATES,
        language_yaml.MAX_BYTES >> 20,
        language_yaml.MAX_DEPTH,
        language_yaml.MAX_ALIASED_NODES,
        fields.MAX_TAGS,
        payload.MAX_DEPTH,
        payload.MAX_STEPS,
        payload.MAX_CHARACTERS >> 20,
        statements.MAX_NESTING,
    }
    workflow = ExpansionLimits()
    counts |= {workflow.roles, workflow.copies, workflow.steps, workflow.depth, workflow.includes}
    counts |= {workflow.characters >> 20, SMALL.roles, SMALL.steps, SMALL.characters >> 20}
    counts |= {int(LIMIT_S), MEMORY_BYTES >> 30}

    assert counts - numbers == set()
