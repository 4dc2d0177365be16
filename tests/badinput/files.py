"""Files that are no YAML of ours, or would cost too much if they were believed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from libecs.io.repository import FolderRepository, RepositorySource
from libecs.language.yaml import parse
from tests.badinput.row import Row


def row(name: str, text: str | bytes, place: str, *says: str) -> Row:
    """Return a row for the content of one file."""
    source = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return Row(name=name, run=lambda: parse(text, "f.yaml"), place=f"f.yaml:{place}", says=says, source=source[:4000])


def bomb(levels: int, width: int) -> str:
    """Return a file in which every level names the one below it many times."""
    lines = ["l0: &l0 [x, x, x]"]
    for level in range(1, levels):
        lines.append(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


def merges(levels: int, width: int) -> str:
    """Return a file in which every mapping merges the one before it, and adds keys of its own."""
    lines = []
    for level in range(levels):
        own = ", ".join(f"k{level}_{at}: x" for at in range(width))
        merged = f"<<: *m{level - 1}, " if level else ""
        lines.append(f"m{level}: &m{level} {{{merged}{own}}}")
    return "\n".join(lines) + "\n"


def large_file() -> Callable[[], object]:
    """Return the reading of a template of 100 MB, most of it a hole on the disk."""

    def read() -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "workflows"
            path.mkdir()
            with open(path / "w.yaml", "wb") as file:
                file.write(b"name: w\n")
                file.truncate(100_000_000)
            repository = FolderRepository(path=Path(folder), name="r")
            return RepositorySource(repository, "", lambda name: repository).workflow("w", "")

    return read


ROWS: tuple[Row, ...] = (
    row("nothing", "", "1:1", "the file is empty", "a template begins with `name:`"),
    row("a comment only", "# hello\n", "1:1", "the file is empty"),
    row("a NUL", "name: w\nx: a\0b\n", "2:5", "the character NUL is not allowed", "is this a text file?"),
    row("a bell", "name: \a\n", "1:7", "the character U+0007 is not allowed", "is this a text file?"),
    row("an escape sequence of a terminal", "name: \x1b[31mw\n", "1:7", "the character U+001B is not allowed"),
    row("half a character", "name: \ud83d\n", "1:7", "the character U+D83D is not allowed"),
    row("UTF-16", "name: w\n".encode("utf-16"), "1:1", "byte 0xff is not UTF-8", "save the file as UTF-8"),
    row("Latin-1", "name: w\ndescription: Zähler\n".encode("latin-1"), "2:15", "byte 0xe4 is not UTF-8", "save the"),
    row("a cut character", "name: \u00e4".encode()[:-1], "1:7", "byte 0xc3 is not UTF-8"),
    row("overlong UTF-8", b"name: \xc0\xaf\n", "1:7", "byte 0xc0 is not UTF-8"),
    row("a PNG", b"\x89PNG\r\n\x1a\n", "1:1", "byte 0x89 is not UTF-8"),
    row("an ELF file", b"\x7fELF\x02\x01\x01", "1:1", "the character U+007F is not allowed"),
    row("a BOM in the middle", "name: w\n\ufeffx: 1\n\ufeff\0", "3:2", "the character NUL is not allowed"),
    row(
        "1 MiB and one byte", "#" * (1 << 20) + "\n", "0:0", "the file has 1048577 bytes, more than the 1048576 allowed"
    ),
    row("10 MB in a text", "x" * 10_000_000, "0:0", "the file has 10000000 bytes", "split it by `include`"),
    Row(
        name="100 MB on the disk",
        run=large_file(),
        code="E_INVALID",
        says=("workflows/w.yaml is longer than",),
    ),
    row(
        "a tab as indentation", "name: w\nx:\n\ty: 1\n", "3:1", "found character that cannot start any token", "no tabs"
    ),
    row(
        "a tab in a list",
        "x:\n- a\n\t- b\n",
        "3:1",
        "found a tab character that violates indentation",
        "YAML allows no tabs there",
    ),
    row("an open list", "x: [1, 2\ny: 3\n", "2:2", "did not find expected ',' or ']'", "check indentation and quotes"),
    row("an open mapping", "x: {a: 1\ny: 3\n", "2:2", "did not find expected ',' or '}'", "check indentation"),
    row("an open string", 'x: "abc\ny: 1\n', "3:1", "found unexpected end of stream", "that begins in line 1"),
    row(
        "a colon in a text",
        "x: a: b\n",
        "1:5",
        "mapping values are not allowed in this context",
        "put the text in quotes",
    ),
    row("braces without quotes", "x: {{ a }}\n", "1:5", "a key must be text, and is a mapping", "put {{ }} in quotes"),
    row(
        "braces with text behind",
        "x: {{ a }}/b\n",
        "1:5",
        "a key must be text, and is a mapping",
        "put {{ }} in quotes",
    ),
    row("wrong indentation", "x:\n  a: 1\n b: 2\n", "3:2", "did not find expected key", "check indentation"),
    row("two documents", "x: 1\n---\ny: 2\n", "2:1", "a second document begins here", "remove `---`"),
    row("a directive", "%YAML 9.9\n---\nx: 1\n", "1:1", "found incompatible YAML document", ""),
    row("an unknown handle", "x: !e!y 1\n", "1:4", "found undefined tag handle"),
    row("a Python object", "x: !!python/object:os.system [id]\n", "1:4", "the tag `!!python/object:os.system` is not"),
    row("a Python call", "!!python/object/apply:os.system ['id']\n", "1:1", "is not known here", "`!public`"),
    row("a Python name", "x: !!python/name:os.system\n", "1:4", "the tag `!!python/name:os.system` is not known"),
    row("a Python tuple", "x: !!python/tuple [1]\n", "1:4", "the tag `!!python/tuple` is not known here"),
    row("a binary", "x: !!binary aGk=\n", "1:4", "the tag `!!binary` is not known here", "the only tag"),
    row("a set", "x: !!set {a, b}\n", "1:4", "the tag `!!set` is not known here"),
    row("a timestamp", "x: !!timestamp 2026-11-23\n", "1:4", "the tag `!!timestamp` is not known here"),
    row("a tag of somebody else", "x: !Ref y\n", "1:4", "the tag `!Ref` is not known here"),
    row("a tag in capitals", "x: !Public y\n", "1:4", "the tag `!Public` is not known here", "`!public`"),
    row("a public list", "x: !public [1]\n", "1:4", "the tag `!public` is not known here"),
    row("a key twice", "a: 1\nb: 2\na: 3\n", "3:1", "the key 'a' stands twice, in lines 1 and 3", "keep one of them"),
    row("a key twice in one line", "{a: 1, a: 2}", "1:8", "the key 'a' stands twice, in lines 1 and 1"),
    row("a key twice by quotes", "a: 1\n'a': 2\n", "2:1", "the key 'a' stands twice"),
    row("a list as key", "? [1, 2]\n: 3\n", "1:3", "a key must be text", "quote it if it holds brackets"),
    row("a mapping as key", "? {a: 1}\n: 3\n", "1:3", "a key must be text", ""),
    row("an alias of nothing", "a: *b\n", "1:4", "`*b` names no anchor above it", "mark the value it means by `&b`"),
    row("an alias before its anchor", "a: *b\nb: &b 1\n", "1:4", "`*b` names no anchor above it"),
    row("a value that holds itself", "a: &a [*a]\n", "1:8", "`*a` stands inside of what it means", "hold itself"),
    row("a mapping that merges itself", "a: &a {<<: *a}\n", "1:12", "`*a` stands inside of what it means"),
    row("merges in a circle", "a: &a {b: &b {<<: *a}}\n", "1:19", "`*a` stands inside of what it means"),
    row("a merged text", "a: {<<: b}\n", "1:9", "`<<` takes a mapping or a list of mappings", "quote it to be a key"),
    row("a merged list of texts", "a: {<<: [b]}\n", "1:10", "`<<` takes a mapping or a list of mappings"),
    row("a billion laughs", bomb(12, 9), "5:20", "aliases add more than 10000 nodes", "write the values out"),
    row("many wide aliases", "a: &a [x, x]\nb: [" + "*a, " * 5000 + "*a]\n", "2:13337", "aliases add more than 10000"),
    row("merges of merges", merges(200, 10), "17:16", "aliases add more than 10000 nodes"),
    row("40 lists inside each other", "[" * 40 + "]" * 40, "1:33", "more than 32 levels inside each other", "includes"),
    row("500 000 brackets", "[" * 500_000, "1:33", "more than 32 levels inside each other"),
    row("500 000 braces", "{" * 500_000, "1:33", "more than 32 levels inside each other"),
    row("40 mappings inside each other", "\n".join("  " * n + "a:" for n in range(40)), "33:65", "more than 32 levels"),
    row("100 000 dashes in a line", "- " * 100_000 + "x", "1:65", "more than 32 levels inside each other"),
    row(
        "a key of 2 000 characters without a colon", "x: 1\n" + "k" * 2000 + "\n", "3:1", "could not find expected ':'"
    ),
)
