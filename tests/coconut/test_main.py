"""The command line itself: help, versions, mistakes, how errors leave."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from ecsd.coconut import main as entry
from ecsd.coconut import output
from ecsd.coconut.lazy import LazyGroup
from libecs import errors
from tests.coconut.conftest import Coconut


def verbs(group: LazyGroup, *path: str) -> list[tuple[str, ...]]:
    """Return the words of every verb."""
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += verbs(command, *path, name) if isinstance(command, LazyGroup) else [(*path, name)]
    return found


ALL = verbs(entry.coconut)


def test_help_names_every_verb_and_exit_code(coconut: Coconut) -> None:
    ran = coconut("--help")

    assert ran.status == 0
    assert all(verb in ran.out for verb in ("demo", "run", "environment", "template", "about"))
    assert "130 interrupted" in " ".join(ran.out.split())
    assert ran.out.index("Examples") < ran.out.index("Verbs")


def test_no_arguments_give_help(coconut: Coconut) -> None:
    assert coconut().out == coconut("--help").out
    assert coconut("template").status == 0


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_verb_has_examples_first_and_json(coconut: Coconut, words: tuple[str, ...]) -> None:
    ran = coconut(*words, "--help")

    examples = re.findall(rf"^\s+coconut {' '.join(words)}\b.*$", ran.out, re.MULTILINE)
    assert len(examples) >= 2
    assert "--json" in ran.out
    assert ran.out.index("Examples:") < ran.out.index("Options:")


def test_help_imports_no_verb() -> None:
    code = (
        "import sys; from ecsd.coconut.main import main; main(['--help']);"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "('libecs', 'rich', 'attrs', 'attr', 'yaml', 'zmq', 'asyncio', 'msgpack', 'msgspec', 'lark')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Verbs:" in done.stdout
    assert done.stderr.strip() == "[]"


def test_version(coconut: Coconut) -> None:
    assert coconut("--version").out.startswith("coconut ")


def test_about_tells_versions_and_places(coconut: Coconut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    document = coconut("about", "--json").document

    assert document["schema"] == "ecs/about/1"
    assert document["run_counter"] == str(tmp_path / "ecs" / "runs.sqlite")
    assert document["runs"] == str(tmp_path / "data" / "ecs" / "runs")
    assert f"run counter:  {tmp_path}" in coconut("about").out


def test_unknown_verb_is_a_usage_error_that_says_what_was_meant(coconut: Coconut) -> None:
    ran = coconut("templte")

    assert ran.status == 2
    assert "did you mean template" in ran.err
    assert "next: coconut --help" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--context x env list", "`coconut` itself has no option --context; options stand behind the verb"),
        ("env --local list", "`coconut environment VERB … --local …`"),
        ("--verson", "Did you mean '--version'?"),
    ],
)
def test_options_of_verbs_before_the_verb_are_told_where_they_go(coconut: Coconut, line: str, words: str) -> None:
    ran = coconut(*line.split())

    assert ran.status == 2
    assert words in ran.err


def test_usage_error_with_json_is_a_document(coconut: Coconut) -> None:
    ran = coconut("template", "lost", "--json")

    assert ran.status == 2
    assert ran.document["error"]["code"] == "E_USAGE"
    assert ran.err == ""


def test_aliases_lead_to_the_same_verb(coconut: Coconut) -> None:
    assert coconut("env", "p", "--help").out.replace(" e ", " ").count("--repo") > 0
    assert coconut("templ", "ls", "--help").status == 0


def verb_that(error: BaseException) -> Callable[..., Any]:
    @output.verb
    def run(output: output.Output) -> None:
        raise error

    return run


TREE = [
    errors.UsageError("wrong", hint="do right"),
    errors.NotFound("nothing"),
    errors.Conflict("held"),
    errors.Denied("no"),
    errors.Unreachable("silence"),
    errors.RunFailed("it broke", cause="a task died", failures={"demo.a": "killed by signal 9"}),
    errors.WaitTimeout("late"),
    errors.TemplateError("no such key", file="w.yaml", line=3, column=7, path="demo", excerpt="  frog: x"),
    errors.Unplaceable({"demo.a": "no node has x"}),
    errors.Missing(["o2/x"]),
    errors.IllegalTransition("STANDBY", "START", ["DEPLOY"]),
]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.code)
def test_error_leaves_with_its_code_and_exit_status(error: errors.EcsError, capsys: pytest.CaptureFixture[str]) -> None:
    status = verb_that(error)(as_json=False)
    captured = capsys.readouterr()

    assert status == error.exit_code
    assert captured.out == ""
    assert captured.err.startswith(f"{error.code}  {error.message.splitlines()[0]}")
    assert "Traceback" not in captured.err
    assert "None" not in captured.err


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.code)
def test_error_with_json_is_one_document_on_stdout(error: errors.EcsError, capsys: pytest.CaptureFixture[str]) -> None:
    status = verb_that(error)(as_json=True)
    captured = capsys.readouterr()

    document = json.loads(captured.out)["error"]
    assert captured.err == ""
    assert (document["code"], document["exit_code"]) == (error.code, status)
    assert document["message"] == error.message
    assert document.get("hint", "") == error.hint


def test_details_of_errors_are_fields(capsys: pytest.CaptureFixture[str]) -> None:
    documents = {}
    for error in TREE:
        verb_that(error)(as_json=True)
        documents[error.code] = json.loads(capsys.readouterr().out)["error"]

    assert documents["E_RUN"]["cause"] == "a task died"
    assert documents["E_RUN"]["failures"] == {"demo.a": "killed by signal 9"}
    assert (documents["E_TEMPLATE"]["file"], documents["E_TEMPLATE"]["line"]) == ("w.yaml", 3)
    assert documents["E_PLACEMENT"]["reasons"] == {"demo.a": "no node has x"}
    assert documents["E_MISSING"]["keys"] == ["o2/x"]


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert verb_that(KeyboardInterrupt())(as_json=False) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert verb_that(KeyboardInterrupt())(as_json=True) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E_INTERRUPTED"


def test_ctrl_c_while_the_line_is_read_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry.coconut, "main", interrupt)

    assert entry.main(["demo"]) == 130


def test_output_that_nobody_reads_is_no_failure() -> None:
    command = f"{sys.executable} -m ecsd.coconut.main about --json | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)

    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "options", "live"),
    [
        ({"TERM": "xterm"}, {}, True),
        ({"TERM": "dumb"}, {}, False),
        ({"TERM": ""}, {}, False),
        ({"TERM": "xterm"}, {"as_json": True}, False),
        ({"TERM": "xterm"}, {"quiet": True}, False),
    ],
)
def test_screen_moves_only_where_it_can(
    environment: dict[str, str], options: dict[str, Any], live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert output.Output(**{"as_json": False, **options}).live is live


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.Output(as_json=False).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.Output(as_json=False).colour
