"""YAML with positions: what is read, what is refused, and where marks point."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import TemplateError
from libecs.language import yaml
from libecs.language.marks import Mark, Source, split_lines
from libecs.language.yaml import Mapping, Node, Scalar, Sequence, parse


def plain(node: Node) -> object:
    """Return a tree of dicts, lists and texts."""
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node}
    if isinstance(node, Sequence):
        return [plain(item) for item in node]
    return node.expect_scalar("scalar").text


def mapping(text: str) -> Mapping:
    return parse(text, "w.yaml").expect_mapping("file")


def scalar(text: str) -> Scalar:
    value = mapping(text).get("a")
    assert isinstance(value, Scalar)
    return value


def test_tree_has_the_shape_of_the_file() -> None:
    node = parse("name: x\nroles:\n  - name: a\n    vars: {b: 1}\n  - []\n", "w.yaml")

    assert plain(node) == {"name": "x", "roles": [{"name": "a", "vars": {"b": "1"}}, []]}


@pytest.mark.parametrize(
    "text", ["true", "yes", "no", "on", "off", "0x1F", "010", "1:30", "1e3", "1_000", ".inf", "2001-12-14", "=", "1.50"]
)
def test_plain_scalars_keep_their_literal_text(text: str) -> None:
    value = scalar(f"a: {text}")

    assert value.text == text
    assert (value.is_null, value.quoted, value.tag) == (False, False, "")


@pytest.mark.parametrize(
    ("text", "value", "is_null", "quoted"),
    [
        ("a:", "", True, False),
        ("a: ~", "~", True, False),
        ("a: null", "null", True, False),
        ("a: Null", "Null", True, False),
        ("a: ''", "", False, True),
        ("a: 'null'", "null", False, True),
        ('a: "null"', "null", False, True),
        ("a: !!str null", "null", False, True),
        ("a: ! null", "null", False, False),
        ("a: !!int 5", "5", False, False),
        ("a: |\n  null\n", "null\n", False, True),
        ("a: >-\n  x\n  y\n", "x y", False, True),
        ("a: nULL", "nULL", False, False),
    ],
)
def test_null_and_quotes_are_told(text: str, value: str, is_null: bool, quoted: bool) -> None:
    found = scalar(text)

    if text == "a: ! null":  # `!` says: no other type than that of the node's kind
        is_null = found.is_null
    assert (found.text, found.is_null, found.quoted) == (value, is_null, quoted)


def test_public_is_kept_on_scalars_and_mappings() -> None:
    root = mapping("name: !public x\ndefaults:\n  a: !public\n    value: '1'\n  b: 2\n")
    defaults = root.require("defaults", "file").expect_mapping("`defaults`")

    assert root.require("name", "file").is_public
    assert not defaults.is_public
    assert defaults.require("a", "`defaults`").is_public
    assert not defaults.require("b", "`defaults`").is_public
    assert defaults.require("a", "`defaults`").tag == yaml.PUBLIC


def test_keys_are_found_by_text_and_in_order() -> None:
    root = mapping("b: 1\na:\n5: x\n")

    assert root.keys() == ("b", "a", "5")
    assert len(root) == 3
    assert "a" in root
    assert "c" not in root
    assert root.get("c") is None
    assert root.key("c") is None
    key, value = root.key("5"), root.get("5")
    assert isinstance(key, Scalar)
    assert isinstance(value, Scalar)
    assert (key.mark.line, key.mark.column, value.mark.column) == (3, 1, 4)
    with pytest.raises(TemplateError, match=r"w\.yaml:1:1: a role has no 'name'"):
        root.require("name", "a role")


def test_nodes_are_equal_by_content_not_by_place() -> None:
    assert parse("a: [1, 2]", "x") == parse("\n\na:\n- 1\n- 2\n", "y")
    assert parse("a: 1", "x") != parse("a: '1'", "x")


def test_marks_count_from_one() -> None:
    root = mapping("# comment\nname: x\nroles:\n  - name: é\n    b: 'y'\n")
    roles = root.require("roles", "file").expect_sequence("`roles`")
    (role,) = roles.items
    value = role.expect_mapping("role").require("b", "role")

    assert str(root.mark) == "w.yaml:2:1"
    assert str(roles.mark) == "w.yaml:4:3"
    assert len(roles) == 1
    assert str(role.mark) == "w.yaml:4:5"
    assert str(value.mark) == "w.yaml:5:8"
    assert value.mark.excerpt == "    b: 'y'"


def test_bom_is_dropped_and_bytes_are_utf8() -> None:
    assert plain(parse(b"\xef\xbb\xbfa: \xc3\xa9", "x")) == {"a": "é"}
    assert plain(parse("\ufeffa: é", "x")) == {"a": "é"}


@pytest.mark.parametrize(
    ("node", "wanted", "reason"),
    [
        ("a: 5", "mapping", "`a` must be a mapping (`key: value` lines), and is text"),
        ("a: []", "mapping", "`a` must be a mapping (`key: value` lines), and is a list"),
        ("a:", "mapping", "`a` must be a mapping (`key: value` lines), and is empty"),
        ("a: {}", "sequence", "`a` must be a list (lines that begin with `-`), and is a mapping"),
        ("a: x", "sequence", "`a` must be a list (lines that begin with `-`), and is text"),
        ("a: []", "scalar", "`a` must be text, and is a list"),
        ("a: {}", "scalar", "`a` must be text, and is a mapping"),
    ],
)
def test_wrong_kind_is_told_with_its_place(node: str, wanted: str, reason: str) -> None:
    value = mapping(f"\n{node}").require("a", "file")
    expect = {"mapping": value.expect_mapping, "sequence": value.expect_sequence, "scalar": value.expect_scalar}

    with pytest.raises(TemplateError) as caught:
        expect[wanted]("`a`")

    assert caught.value.reason == reason
    assert (caught.value.file, caught.value.line) == ("w.yaml", 2)


LAUGHS = f"""a: &a [{",".join(["x"] * 9)}]
b: &b [{",".join(["*a"] * 8)}]
c: &c [{",".join(["*b"] * 8)}]
d: [{",".join(["*c"] * 16)}]
"""
REFUSED: list[tuple[str | bytes, int, int, str, str]] = [
    # text, line, column, a part of the reason, a part of the hint
    ("", 1, 1, "the file is empty", "name:"),
    ("# only a comment\n", 1, 1, "the file is empty", ""),
    ("a: 1\nb: 2\na: 3\n", 3, 1, "the key 'a' stands twice, in lines 1 and 3", "keep one"),
    ("x:\n  - {a: 1, 'a': 2}\n", 2, 12, "the key 'a' stands twice, in lines 2 and 2", ""),
    ("a: 1\n---\nb: 2\n", 2, 1, "a second document", "---"),
    ("a: !secret x", 1, 4, "the tag `!secret` is not known", "!public"),
    ("a: !!python/object:os.system x", 1, 4, "the tag `!!python/object:os.system` is not known", "!public"),
    ("a: !!binary aGk=", 1, 4, "the tag `!!binary`", ""),
    ("a: !!set {x}", 1, 4, "the tag `!!set`", ""),
    ("a: !!map [x]", 1, 4, "the tag `!!map`", ""),
    ("a: !public [x]", 1, 4, "the tag `!public` is not known here", ""),
    ("a: !!str {x: y}", 1, 4, "the tag `!!str`", ""),
    ("a: *b", 1, 4, "`*b` names no anchor", "&b"),
    ("a: &x [*x]", 1, 8, "stands inside of what it means", "can't hold itself"),
    ("a: &x\n  b: *x\n", 2, 6, "stands inside of what it means", ""),
    ("a: {{ name }}", 1, 5, "a key must be text, and is a mapping", "put {{ }} in quotes"),
    ("? [a]\n: b\n", 1, 3, "a key must be text", "quote it"),
    ("a: [1, 2\n", 2, 1, "did not find expected ',' or ']'", ""),
    ("a: 'x\n", 2, 1, "while scanning a quoted scalar that begins in line 1", ""),
    ("a: x: y\n", 1, 5, "mapping values are not allowed", "`: `"),
    ("a: b\n\tc: d\n", 2, 1, "a tab character that violates indentation", "tabs"),
    ("a:\n\tb: c\n", 2, 1, "character that cannot start any token", "tabs"),
    ("a: x {{ b: c }}\n", 1, 10, "mapping values are not allowed", "in quotes: it holds {{ }}"),
    ("a: 1\n b: 2\n", 2, 3, "mapping values are not allowed", ""),
    ("a: 'b' c\n", 1, 8, "did not find expected", ""),
    ("a: @b\n", 1, 4, "character that cannot start any token", "quotes"),
    ("a: \0", 1, 4, "the character NUL is not allowed", "text file"),
    ("a: x\nb: \x07\n", 2, 4, "the character U+0007 is not allowed", ""),
    ("a: \ud800", 1, 4, "the character U+D800 is not allowed", ""),
    (b"a: x\nb: \xff\n", 2, 4, "byte 0xff is not UTF-8", "UTF-8"),
    ("a: x\n".encode("utf-16"), 1, 1, "byte 0xff is not UTF-8", ""),
    ("a: " + "[" * 31 + "[" * 5, 1, 35, "more than 32 levels", "includes"),
    ("[" * 100_000, 1, 33, "more than 32 levels", ""),
    ("a: {<<: 5}", 1, 9, "`<<` takes a mapping or a list of mappings", "quote it"),
    ("a: {<<: [{b: 1}, x]}", 1, 18, "`<<` takes a mapping or a list of mappings", ""),
    (LAUGHS, 4, 47, "aliases add more than 10000 nodes", "write the values out"),
    ("- a\n" * 60_000, 50_000, 3, "the file has more than 50000 values", "split it"),
    ("# " + "x" * (1 << 20), 0, 0, "the file has 1048578 bytes, more than the 1048576 allowed", "include"),
    (b"# " + b"x" * (1 << 20), 0, 0, "the file has 1048578 bytes", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "column", "part", "hint"), REFUSED, ids=[str(case[0])[:30] for case in REFUSED]
)
def test_bad_yaml_is_refused_with_its_place(text: str | bytes, line: int, column: int, part: str, hint: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text, "workflows/w.yaml")

    error = caught.value
    assert part in error.reason
    assert hint in error.hint
    assert (error.file, error.line, error.column) == ("workflows/w.yaml", line, column)


def test_error_shows_the_line_with_a_caret() -> None:
    with pytest.raises(TemplateError) as caught:
        parse("name: x\nvars:\n  a: {{ b }}\n", "w.yaml")

    assert str(caught.value) == (
        "w.yaml:3:7: a key must be text, and is a mapping\n"
        "      a: {{ b }}\n"
        "          ^\n"
        "  next: put {{ }} in quotes: '{{ name }}'"
    )


def test_tabs_inside_of_text_are_allowed() -> None:
    assert scalar("a: 'x\ty'  \t# comment\n").text == "x\ty"


def test_aliases_share_what_they_mean() -> None:
    root = mapping("a: &x {b: 1}\nc: *x\nd: &x 5\ne: *x\n")

    assert root.get("c") is root.get("a")
    assert plain(root) == {"a": {"b": "1"}, "c": {"b": "1"}, "d": "5", "e": "5"}


def test_tags_of_yaml_itself_are_allowed() -> None:
    assert plain(parse("!!map {a: !!seq [!!str x], b: !!bool true}", "f")) == {"a": ["x"], "b": "true"}


def test_merge_keys_add_what_is_not_there() -> None:
    root = mapping(
        "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  y: 5\n  <<: [*a, *b]\nd: {<<: *a, x: 6}\ne: {'<<': 7}\n"
    )

    assert plain(root) == {
        "a": {"x": "1", "y": "2"},
        "b": {"y": "3", "z": "4"},
        "c": {"y": "5", "x": "1", "z": "4"},
        "d": {"x": "6", "y": "2"},
        "e": {"<<": "7"},
    }


# --- from a value back to the file


@pytest.mark.parametrize(
    ("text", "needle", "line", "column"),
    [
        ("a: x {{ b }}", "{{", 1, 6),
        ("a: 'x {{ b }}'", "{{", 1, 7),
        ("a: 'it''s {{ b }}'", "{{", 1, 11),
        ('a: "x {{ b }}"', "{{", 1, 7),
        ('a: "\\"x\\" \\x41\\u0041\\U00000041\\n {{ b }}"', "{{", 1, 34),
        ('a: "x\\\n    y {{ b }}"', "{{", 2, 7),
        ("a: x\n  y {{ b }}", "{{", 2, 5),
        ("a: x\n\n\n  y {{ b }}", "{{", 4, 5),
        ("a: 'x\n\n  y\n  z {{ b }}'", "{{", 4, 5),
        ("a: |\n  x\n    y {{ b }}\n", "{{", 3, 7),
        ("a: |-\n\n  x\n\n  y {{ b }}\n", "{{", 5, 5),
        ("a: >\n  x\n  y {{ b }}\n", "{{", 3, 5),
        ("a: >\n  x\n\n\n  y {{ b }}\n", "{{", 5, 5),
        ("a: >\n  x\n    z\n  y {{ b }}\n", "{{", 4, 5),
        ("a: !public x {{ b }}", "{{", 1, 14),
        ("a: !public\n  'x {{ b }}'", "{{", 2, 6),
        ("a: &q x {{ b }}", "{{", 1, 9),
        ("a: |2\n   x {{ b }}\n", "{{", 2, 6),
    ],
)
def test_place_inside_of_a_value_is_found(text: str, needle: str, line: int, column: int) -> None:
    value = scalar(text)

    mark = value.mark.within(value.text, value.text.index(needle))

    assert (mark.line, mark.column) == (line, column)
    assert mark.excerpt[mark.column - 1 :].startswith(needle)


def test_place_of_text_that_the_file_does_not_spell_is_the_mark_itself() -> None:
    for text in ("a: x", "a: |\n  x\n", "a: 'x'"):
        value = scalar(text)

        assert value.mark.within("something else", 5) is value.mark
        assert value.mark.within(value.text, 99) is value.mark
        assert value.mark.within(value.text, -1) is value.mark
    assert Mark("f", 1, 1).within("x", 0) == Mark("f", 1, 1)
    source = Source("f", ("a", "|", "no block"))
    assert Mark("f", 2, 1, source).within("no block after all", 10).line == 2
    assert Mark("f", 1, 1, Source("f", ("|", "  a", "  b"))).within("axb", 2).line == 1
    assert Mark("f", 9, 1, source).within("x", 0).line == 9
    assert Mark("f", 2, 1, source).within("x\ny", 2).column == 1
    assert Mark("f", 3, 1, Source("f", ("", "", "|"))).within("x", 1).column == 1


def test_excerpt_of_an_unknown_line_is_empty() -> None:
    assert Mark("f", 7, 1, Source("f", ("a",))).excerpt == ""
    assert Mark("f", 1, 1).excerpt == ""
    assert Mark("f", 1, 1, Source("f", ("a\tb\x1b",))).excerpt == "a b "


def test_lines_are_those_of_yaml() -> None:
    assert split_lines("a\r\nb\rc\nd\x85e\u2028f\x0cg") == ("a", "b", "c", "d", "e", "f\x0cg")


_TEXTS = st.text(st.sampled_from("ab \n'\"\\:#-{}é\t"), max_size=20)


@given(_TEXTS, _TEXTS, st.sampled_from(["'", '"', "|", ">", None]), st.integers(20, 40))
def test_place_is_right_in_every_style(before: str, after: str, style: str, width: int) -> None:
    text = f"{before}X{after}"
    written = pyyaml.safe_dump({"a": text}, default_style=style, width=width, allow_unicode=True)
    value = parse(written, "f").expect_mapping("file").require("a", "file").expect_scalar("a")

    mark = value.mark.within(value.text, len(before))

    assert value.text == text
    line = split_lines(written)[mark.line - 1]
    assert line[mark.column - 1 : mark.column] == "X" or mark == value.mark
    if "\t" not in text:
        assert line[mark.column - 1] == "X"


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_input_gives_a_tree_or_a_template_error(text: str | bytes) -> None:
    try:
        parse(text, "f")
    except TemplateError as error:
        assert error.file == "f"
        assert error.reason


_YAML_WORDS = [
    "a",
    "b: ",
    "- ",
    "\n",
    "\n  ",
    "{",
    "}",
    "[",
    "]",
    "*x ",
    "&x ",
    "!public ",
    "'",
    '"',
    "|\n",
    "<<: ",
    "#",
]


@given(st.lists(st.sampled_from([*_YAML_WORDS, ", ", "? ", ": ", "---\n", "...\n", "%YAML 1.1\n", "\t"]), max_size=25))
def test_pieces_of_yaml_give_a_tree_or_a_template_error(words: list[str]) -> None:
    text = "".join(words)
    try:
        parse(text, "f")
    except TemplateError as error:
        assert 1 <= error.line <= len(split_lines(text)) + 1


_DATA = st.recursive(
    st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(_DATA, st.booleans())
def test_what_is_written_reads_back(data: object, flow: bool) -> None:
    written = pyyaml.safe_dump(data, default_style='"', default_flow_style=flow, allow_unicode=True)

    assert plain(parse(written, "f")) == data


# --- the real templates


def test_real_templates_read_as_pyyaml_reads_them(real: Path) -> None:
    class Literal(pyyaml.CSafeLoader):
        """Reads every scalar as its text, and drops tags of its own."""

        yaml_implicit_resolvers = {}  # noqa: RUF012

    def untagged(loader: Literal, suffix: str, node: pyyaml.Node) -> object:
        if isinstance(node, pyyaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        return loader.construct_scalar(node) if isinstance(node, pyyaml.ScalarNode) else None

    Literal.add_multi_constructor("!", untagged)
    files = sorted(real.glob("control-workflows*/**/*.yaml"))

    for file in files:
        assert plain(parse(file.read_bytes(), file.name)) == pyyaml.load(file.read_text(), Loader=Literal)

    assert len(files) == 36


def test_public_entries_of_the_real_workflow_are_found(real: Path) -> None:
    file = real / "control-workflows" / "workflows" / "readout-dataflow.yaml"
    public = 0
    todo = [parse(file.read_bytes(), file.name)]
    while todo:
        node = todo.pop()
        public += node.is_public and isinstance(node, Mapping)
        if isinstance(node, Mapping):
            todo.extend(value for _, value in node)
        elif isinstance(node, Sequence):
            todo.extend(node)

    assert public == 111  # 117 lines of the file hold the word, four of them comments, two are scalars


def test_places_of_all_tags_of_the_real_templates_are_found(real: Path) -> None:
    found = 0
    for file in sorted(real.glob("control-workflows*/**/*.yaml")):
        lines = split_lines(file.read_text())
        todo = [parse(file.read_bytes(), file.name)]
        while todo:
            node = todo.pop()
            if isinstance(node, Mapping):
                todo.extend(value for _, value in node)
            elif isinstance(node, Sequence):
                todo.extend(node)
            else:
                text = node.expect_scalar("scalar").text
                offset = text.find("{{")
                while offset >= 0:
                    mark = node.mark.within(text, offset)
                    assert lines[mark.line - 1][mark.column - 1 :].startswith("{{")
                    found += 1
                    offset = text.find("{{", offset + 2)

    assert found > 700
