"""The error tree: what is printed, and the numbers that scripts rely on."""

from __future__ import annotations

from libecs import errors


def every_error() -> list[type[errors.EcsError]]:
    """Return the classes of libecs.errors. Tools and tests may have more specific ones, which share the codes."""
    found, todo = [], [errors.EcsError]
    while todo:
        one = todo.pop()
        if one.__module__ == errors.__name__:
            found.append(one)
        todo.extend(one.__subclasses__())
    return found


def test_codes_are_unique_and_exit_codes_are_those_of_the_table() -> None:
    classes = every_error()
    assert len({one.code for one in classes}) == len(classes)
    assert {one.exit_code for one in classes} <= set(range(1, 11))


def test_a_template_error_shows_file_line_role_and_a_caret() -> None:
    error = errors.TemplateError(
        "no such key", file="w.yaml", line=3, column=5, path="a.b", excerpt="    nme: x", hint="write name"
    )

    assert str(error) == ("w.yaml:3:5: role a.b: no such key\n        nme: x\n        ^\n  next: write name")


def test_a_place_is_filled_in_once() -> None:
    error = errors.ExpressionError("bad", line=2).at(file="f.yaml", line=9, path="r")

    assert (error.file, error.line, error.path) == ("f.yaml", 2, "r")
    assert isinstance(error, errors.ExpressionError)


def test_a_failed_transition_lists_cause_failures_and_what_to_do() -> None:
    error = errors.TransitionFailed("CONFIGURE failed", cause="a: no card", failures={"w.a": "no card"}, hint="recover")

    assert str(error).splitlines() == ["CONFIGURE failed", "  cause: a: no card", "  w.a: no card", "  next: recover"]
    assert errors.TransitionFailed("x").cause == "x"


def test_what_can_not_be_placed_is_counted() -> None:
    assert str(errors.Unplaceable({"w.a": "no node"})).startswith("1 task cannot be placed\n  w.a: no node")
    assert str(errors.Unplaceable({"w.a": "x", "w.b": "y"})).startswith("2 tasks")


def test_missing_keys_are_named() -> None:
    assert errors.Missing(["a/b", "c"]).keys == ("a/b", "c")
    assert "a/b, c" in str(errors.Missing(["a/b", "c"]))


def test_an_error_without_a_hint_is_its_message() -> None:
    assert str(errors.Conflict("taken")) == "taken"


def test_an_error_is_shown_with_its_code_and_no_first_line_that_is_too_long() -> None:
    short = errors.UsageError("wrong", hint="do right")
    long = errors.TemplateError("word " * 40, file="f.yaml", line=1, column=2, excerpt="x: y", hint="cut it")

    assert short.shown() == "E_USAGE  wrong\n  next: do right"
    lines = long.shown().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("E_TEMPLATE  f.yaml:1:2: word")
    assert lines[1].startswith("    word")
    assert lines[-3:] == ["    x: y", "     ^", "  next: cut it"]
    assert "".join(lines).count("word") == 40


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    line = "".join(chr(0x100 + at) for at in range(500))

    for column in (1, 40, 250, 460, 500, 501):
        error = errors.TemplateError("bad", line=1, column=column, excerpt=line)
        _, shown, caret = str(error).splitlines()
        assert len(shown) <= 4 + errors.EXCERPT + 2
        under = shown[len(caret) - 1 : len(caret)]
        assert under == line[column - 1 : column]
        assert error.excerpt == line
