"""Settings of daemons: where values come from, and what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ecsd.core.options import CoreOptions
from ecsd.executor.options import ExecutorOptions
from ecsd.settings import (
    Loaded,
    Program,
    flag,
    load,
    number,
    one_of,
    options_help,
    pair,
    path,
    run,
    seconds,
    setting,
    show,
    table,
    whole,
)
from libecs.errors import EcsError, InvalidInput, NotFound, UsageError


@attrs.frozen(kw_only=True)
class Options:
    # `setting` makes a field, as attrs.field does
    place: Path = setting(Path("/default"), "Where.", read=path, metavar="DIR")  # noqa: RUF009
    level: str = setting("info", "How much.", read=one_of("info", "debug"))
    port: tuple[int, ...] = setting((), "Which.", read=whole, many=True)
    label: tuple[tuple[str, str], ...] = setting((), "What.", read=pair, many=True)
    wait: float = setting(1.0, "How long.", read=seconds)
    dry_run: bool = setting(False, "Only look.", read=flag)
    home: str = setting("", "Whose.", computed=lambda env: (env.get("HOME", "/"), "environment HOME"))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(name="probe", summary="A probe.", file=tmp_path / "usual.toml", version="1.2.3")


def loaded(program: Program, *words: str, **environment: str) -> Loaded[Options]:
    return load(program, Options, words, environment)


def test_the_stronger_source_wins_and_each_value_knows_its_own(program: Program) -> None:
    program.file.write_text('level = "debug"\nport = [1, 2]\nwait = "2s"\nplace = "/file"\n')

    found = loaded(program, "--place", "/words", "--dry-run", ECS_WAIT="3", ECS_PLACE="/environment")

    assert found.settings == Options(
        place=Path("/words"), level="debug", port=(1, 2), wait=3.0, dry_run=True, label=(), home="/"
    )
    assert found.sources == {
        "place": "command line --place",
        "level": f"{program.file}:1",
        "port": f"{program.file}:2",
        "wait": "environment ECS_WAIT",
        "label": "default",
        "dry_run": "command line --dry-run",
        "home": "environment HOME",
    }


def test_without_any_source_there_are_defaults(program: Program) -> None:
    assert loaded(program).settings == Options(home="/")


def test_lists_are_repeated_words_blanks_in_the_environment_and_tables_in_files(program: Program) -> None:
    program.file.write_text('dry-run = true\n[label]\nrack = "a1"\nslot = 3\n')

    found = loaded(program, "--port=1", "--port", "2", ECS_LABEL="x=1 y=2").settings
    from_file = loaded(program).settings

    assert found.port == (1, 2)
    assert found.label == (("x", "1"), ("y", "2"))
    assert from_file.label == (("rack", "a1"), ("slot", "3"))
    assert from_file.dry_run


def test_a_named_file_is_read_instead_of_the_usual_one(program: Program, tmp_path: Path) -> None:
    program.file.write_text('level = "nonsense"\n')
    other = tmp_path / "other.toml"
    other.write_text('level = "debug"\n')

    assert loaded(program, "--config", str(other)).settings.level == "debug"
    assert loaded(program, ECS_CONFIG=str(other)).settings.level == "debug"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('level = "debug"\nlevle = "info"\n', 2, "there is no setting 'levle'"),
        ('\n\nlevel = "loud"\n', 3, "level: 'loud' is none of info, debug"),
        ("wait = \n", "1:8", "Invalid value"),
        ("level = 2020-01-01\n", 1, "level: a date cannot stand here"),
        ("port = [-1]\n", 1, "port: '-1' is no whole number"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(program: Program, text: str, line: object, why: str) -> None:
    program.file.write_text(text)

    with pytest.raises(InvalidInput) as caught:
        loaded(program)

    assert caught.value.message.startswith(f"{program.file}:{line}: {why}")


def test_a_misspelt_key_is_told_what_was_meant(program: Program) -> None:
    program.file.write_text("dry_runn = true\n")

    with pytest.raises(InvalidInput) as of_file:
        loaded(program)
    with pytest.raises(UsageError, match="there is no option '--plase'") as of_words:
        load(attrs.evolve(program, file=Path("/none")), Options, ["--plase", "/x"], {})
    with pytest.raises(UsageError) as unlike:
        load(attrs.evolve(program, file=Path("/none")), Options, ["zzz"], {})

    assert of_file.value.hint == "did you mean dry_run?"
    assert of_words.value.hint == "did you mean --place?"
    assert unlike.value.hint.startswith("known are --place, --level")


def test_wrong_values_elsewhere_name_their_source(program: Program) -> None:
    with pytest.raises(InvalidInput, match="environment ECS_WAIT: wait: not a duration"):
        loaded(program, ECS_WAIT="long")
    with pytest.raises(InvalidInput, match="command line --dry-run: dry_run: 'perhaps' is neither true nor false"):
        loaded(program, "--dry-run=perhaps")
    with pytest.raises(InvalidInput, match="label: 'x' is not KEY=VALUE"):
        loaded(program, "--label", "x")
    with pytest.raises(InvalidInput, match="place: '' is no path"):
        loaded(program, "--place", "")
    with pytest.raises(InvalidInput, match="'x' is no number"):
        number("x")


def test_an_option_without_its_value_and_a_file_that_is_not_there(program: Program, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--place needs a value"):
        loaded(program, "--place")
    with pytest.raises(NotFound, match="there is no settings file"):
        loaded(program, "--config", str(tmp_path / "none"))
    with pytest.raises(EcsError, match="cannot be read"):
        loaded(program, "--config", str(tmp_path))
    program.file.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="byte 0 is no UTF-8"):
        loaded(program)


def test_show_settings_prints_values_and_sources(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    def never(_: object) -> int:
        raise AssertionError

    words = ["--show-settings", "--port", "7", "--port", "8", "--dry-run"]
    assert run(program, Options, words, never, environment={"HOME": "/h"}) == 0
    table_text = capsys.readouterr().out
    assert run(program, Options, [*words, "--json"], never, environment={"HOME": "/h"}) == 0
    document = json.loads(capsys.readouterr().out)

    assert [line.split(None, 2) for line in table_text.splitlines()][2] == ["port", "7", "8       command line --port"]
    assert document["port"] == {"value": [7, 8], "source": "command line --port"}
    assert document["dry_run"] == {"value": True, "source": "command line --dry-run"}
    assert document["place"] == {"value": "/default", "source": "default"}
    assert document["home"] == {"value": "/h", "source": "environment HOME"}


def test_help_and_version(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(program, Options, ["--version"], lambda _: 1) == 0
    assert capsys.readouterr().out == "probe 1.2.3\n"
    assert run(program, Options, ["--help"], lambda _: 1) == 0
    text = capsys.readouterr().out
    assert "--place DIR" in text
    assert "Which. May be repeated." in text
    assert options_help(Options) in text


def test_an_error_is_printed_and_is_the_exit_code(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> int:
        raise NotFound("it is gone", hint="look for it")

    assert run(program, Options, ["--levle", "x"], lambda _: 0, environment={}) == UsageError.exit_code
    assert "E_USAGE" in capsys.readouterr().err
    assert run(program, Options, [], fail, environment={}) == NotFound.exit_code
    assert "next: look for it" in capsys.readouterr().err


def test_the_document_holds_the_tables_that_are_made_of_the_classes(project: Path) -> None:
    """`python tools/generate_settings.py` writes them."""
    text = (project / "docs" / "settings.md").read_text(encoding="utf-8")

    assert table(CoreOptions) in text
    assert table(ExecutorOptions) in text


def test_what_is_shown_can_be_given_again(program: Program) -> None:
    found = loaded(program, "--label", "a=b", "--port", "3")

    document = json.loads(show(found, as_json=True))

    words = [f"--{name}={value}" for name in ("label", "port") for value in document[name]["value"]]
    assert loaded(program, *words).settings == found.settings
