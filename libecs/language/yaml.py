"""YAML with positions: text becomes a tree of frozen nodes that know their file, line and column.

The events come from libyaml through PyYAML's C parser; the tree is built here and not by PyYAML's composer, because
limits must bite while text is read (a recursive composer runs out of C stack on a file of brackets), and a node has
to carry what templates need: the literal text of scalars ("010" stays "010"), the tag `!public`, both places of
a duplicate key. Plain scalars are never converted, so YAML 1.1's surprises (`no`, `on`, `1:30`) do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, cast

import attrs
import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from libecs.errors import TemplateError
from libecs.language.marks import Mark, Source, split_lines

__all__ = ["PUBLIC", "Mapping", "Mark", "Node", "Scalar", "Sequence", "parse"]

MAX_BYTES: Final = 1 << 20
"""Size of one file."""
MAX_DEPTH: Final = 32
"""Mappings and sequences inside each other."""
MAX_NODES: Final = 50_000
"""Scalars, sequences and mappings of one file as it is written: half a second of reading. The longest template that we
know, the readout-dataflow of ALICE, has 4 300."""
MAX_ALIASED_NODES: Final = 10_000
"""Nodes that aliases and merge keys add to one document."""

PUBLIC: Final = "!public"

_QUOTED: Final = frozenset("'\"|>")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_CORE: Final = "tag:yaml.org,2002:"
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@attrs.frozen(kw_only=True)
class Node:
    """A node of a document: `Mapping`, `Sequence` or `Scalar`. Nodes are equal if their contents are."""

    mark: Mark = attrs.field(default=Mark("", 0, 0), eq=False)
    tag: str = ""
    """`!public`, or "" for all of YAML's own."""

    @property
    def is_public(self) -> bool:
        """True if the author shows this to users: the tag `!public`."""
        return self.tag == PUBLIC

    def expect_mapping(self, what: str) -> Mapping:
        """Return self if it is a mapping; `what` names the thing in the message, such as "`task`".

        Raises:
            TemplateError: it is something else.
        """
        if isinstance(self, Mapping):
            return self
        raise _unexpected(self, what, "a mapping (`key: value` lines)")

    def expect_sequence(self, what: str) -> Sequence:
        """Return self if it is a list, or raise `TemplateError`."""
        if isinstance(self, Sequence):
            return self
        raise _unexpected(self, what, "a list (lines that begin with `-`)")

    def expect_scalar(self, what: str) -> Scalar:
        """Return self if it is text or a number, or raise `TemplateError`. It may be null."""
        if isinstance(self, Scalar):
            return self
        raise _unexpected(self, what, "text")


@attrs.frozen
class Scalar(Node):
    """Text, as it is written: true, 0x1F and 010 are not converted."""

    text: str
    is_null: bool = False
    """Empty, `~` or `null` without quotes."""
    quoted: bool = False
    """Written in quotes or as a block; then "null" and "true" are ordinary text."""


@attrs.frozen
class Sequence(Node):
    """A list."""

    items: tuple[Node, ...]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@attrs.frozen
class Mapping(Node):
    """Keys with values, in the order of the file. Keys are scalars and differ by their text."""

    items: tuple[tuple[Scalar, Node], ...]
    _index: dict[str, tuple[Scalar, Node]] = attrs.field(init=False, eq=False, repr=False)

    @_index.default
    def _make_index(self) -> dict[str, tuple[Scalar, Node]]:
        return {key.text: (key, value) for key, value in self.items}

    def get(self, key: str) -> Node | None:
        """Return the value of `key`, or None if there is no such key (a null value is a `Scalar` with `is_null`)."""
        pair = self._index.get(key)
        return pair[1] if pair else None

    def key(self, key: str) -> Scalar | None:
        """Return the key itself, for its mark, or None."""
        pair = self._index.get(key)
        return pair[0] if pair else None

    def require(self, key: str, what: str) -> Node:
        """Return the value of `key`; `what` names this mapping in the message.

        Raises:
            TemplateError: there is no such key.
        """
        pair = self._index.get(key)
        if pair is None:
            raise self.mark.error(f"{what} has no {key!r}", hint=f"add `{key}:` here")
        return pair[1]

    def keys(self) -> tuple[str, ...]:
        """Return the texts of all keys, in the order of the file."""
        return tuple(self._index)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def parse(text: str | bytes, file: str) -> Node:
    """Return the tree of the one document in `text`; `file` is its name as the user knows it.

    Raises:
        TemplateError: not UTF-8, not YAML, a tag that is not ours, a key twice, or a limit of this module.
    """
    text = _decode(text, file)
    source = Source(file, split_lines(text))
    try:
        return _Builder(yaml.CSafeLoader(text), source).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, source) from None


def _decode(text: str | bytes, file: str) -> str:
    size = len(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    if size > MAX_BYTES:
        raise TemplateError(
            f"the file has {size} bytes, more than the {MAX_BYTES} allowed", file=file, hint="split it by `include`"
        )
    if isinstance(text, bytes):
        data = text
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8", "replace")
            lines = split_lines(before)
            raise TemplateError(
                f"byte 0x{data[error.start]:02x} is not UTF-8",
                file=file,
                line=len(lines),
                column=len(lines[-1]) + 1,
                hint="save the file as UTF-8",
            ) from None
    text = text.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(text):
        lines = split_lines(text)
        line = len(split_lines(text[: bad.start()]))
        column = len(split_lines(text[: bad.start()])[-1]) + 1
        name = "NUL" if bad.group() == "\0" else f"U+{ord(bad.group()):04X}"
        mark = Mark(file, line, column, Source(file, lines))
        raise mark.error(f"the character {name} is not allowed in YAML", hint="remove it; is this a text file?")
    return text


def _unexpected(node: Node, what: str, wanted: str) -> TemplateError:
    found = {Mapping: "a mapping", Sequence: "a list"}.get(type(node), "text")
    if isinstance(node, Scalar) and node.is_null:
        found = "empty"
    return node.mark.error(f"{what} must be {wanted}, and is {found}")


def _syntax_error(error: yaml.MarkedYAMLError, source: Source) -> TemplateError:
    where = error.problem_mark or error.context_mark
    mark = Mark(source.file, where.line + 1, where.column + 1, source) if where else Mark(source.file, 0, 0)
    reason = str(error.problem or error.context or "not YAML")
    if error.context:
        reason += f" {error.context}"
        if error.context_mark and where and error.context_mark.line != where.line:
            reason += f" that begins in line {error.context_mark.line + 1}"
    return mark.error(reason, hint=_hint(reason, mark.excerpt, source, mark))


def _hint(reason: str, line: str, source: Source, mark: Mark) -> str:
    raw = source.lines[mark.line - 1] if 1 <= mark.line <= len(source.lines) else ""
    if "\t" in raw[: len(raw) - len(raw.lstrip())] or "\t" in raw[mark.column - 1 : mark.column]:
        return "indent by blanks: YAML allows no tabs there"
    if "{{" in line:
        return "put the whole text in quotes: it holds {{ }}"
    if "mapping values are not allowed" in reason:
        return "put the text in quotes if it holds `: `, or check the indentation"
    return "check indentation and quotes here and in the line above"


class _Builder:
    """Makes one document's tree from the parser's events. Depth is bounded, so recursion is safe."""

    def __init__(self, parser: yaml.CSafeLoader, source: Source) -> None:
        self._next: Callable[[], Event] = cast("Callable[[], Event]", parser.get_event)  # None after the end only
        self._source = source
        self._file = source.file
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._nodes = 0
        self._aliased = 0

    def document(self) -> Node:
        """Return the root, or raise `TemplateError`; `yaml.MarkedYAMLError` if the text is no YAML."""
        self._next()  # the stream's begin
        if isinstance(self._next(), StreamEndEvent):
            mark = Mark(self._file, 1, 1, self._source)
            raise mark.error("the file is empty", hint="a template begins with `name:`")
        node = self._node(self._next(), 0)
        self._next()  # the document's end
        event = self._next()
        if not isinstance(event, StreamEndEvent):
            raise self._mark(event).error("a second document begins here", hint="one document per file: remove `---`")
        return node

    def _mark(self, event: Event) -> Mark:
        start = event.start_mark
        assert start is not None, "libyaml marks every event"
        return Mark(self._file, start.line + 1, start.column + 1, self._source)

    def _node(self, event: Event, depth: int) -> Node:
        if self._nodes >= MAX_NODES:
            raise self._mark(event).error(f"the file has more than {MAX_NODES} values", hint="split it by `include`")
        if type(event) is ScalarEvent and event.anchor is None:  # nearly all nodes
            self._nodes += 1
            return self._scalar(event)
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor or "", self._mark(event))
        assert isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent))
        before = self._nodes + self._aliased
        self._nodes += 1
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        node: Node
        if isinstance(event, ScalarEvent):
            node = self._scalar(event)
        elif depth >= MAX_DEPTH:
            hint = "cut it into includes"
            raise self._mark(event).error(f"more than {MAX_DEPTH} levels inside each other", hint=hint)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if anchor is not None:
            self._anchors[anchor] = (node, self._nodes + self._aliased - before)
        return node

    def _alias(self, name: str, mark: Mark) -> Node:
        if name not in self._anchors:
            raise mark.error(f"`*{name}` names no anchor above it", hint=f"mark the value it means by `&{name}`")
        known = self._anchors[name]
        if known is None:
            raise mark.error(f"`*{name}` stands inside of what it means", hint="a value can't hold itself")
        node, size = known
        self._charge(size, mark)
        return node

    def _charge(self, nodes: int, mark: Mark) -> None:
        self._aliased += nodes
        if self._aliased > MAX_ALIASED_NODES:
            raise mark.error(f"aliases add more than {MAX_ALIASED_NODES} nodes", hint="write the values out")

    def _scalar(self, event: ScalarEvent) -> Scalar:
        text, tag, mark = event.value, event.tag or "", self._mark(event)
        quoted = event.style in _QUOTED
        if tag and tag != PUBLIC:
            self._check_tag(tag, mark, ("str", "null", "bool", "int", "float"))
            quoted = quoted or tag == _CORE + "str"
            tag = ""
        return Scalar(text, not quoted and text in _NULLS, quoted, mark=mark, tag=tag)

    def _sequence(self, event: SequenceStartEvent, depth: int) -> Sequence:
        mark = self._mark(event)
        if event.tag:
            self._check_tag(event.tag, mark, ("seq",))
        items: list[Node] = []
        while not isinstance(inner := self._next(), SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        return Sequence(tuple(items), mark=mark)

    def _mapping(self, event: MappingStartEvent, depth: int) -> Mapping:
        tag, mark = event.tag or "", self._mark(event)
        if tag and tag != PUBLIC:
            self._check_tag(tag, mark, ("map",))
            tag = ""
        items: dict[str, tuple[Scalar, Node]] = {}
        merges: list[Node] = []
        while not isinstance(inner := self._next(), MappingEndEvent):
            key = self._node(inner, depth + 1)
            if not isinstance(key, Scalar):
                raise _bad_key(key)
            value = self._node(self._next(), depth + 1)
            if key.text == "<<" and not key.quoted:
                merges.extend(value.items if isinstance(value, Sequence) else (value,))
                continue
            first = items.get(key.text)
            if first is not None:
                raise key.mark.error(
                    f"the key {key.text!r} stands twice, in lines {first[0].mark.line} and {key.mark.line}",
                    hint="keep one of them",
                )
            items[key.text] = (key, value)
        for merged in merges:
            if not isinstance(merged, Mapping):
                raise merged.mark.error("`<<` takes a mapping or a list of mappings", hint="quote it to be a key")
            self._charge(len(merged), mark)
            for key, value in merged:
                items.setdefault(key.text, (key, value))
        return Mapping(tuple(items.values()), mark=mark, tag=tag)

    def _check_tag(self, tag: str, mark: Mark, kinds: tuple[str, ...]) -> None:
        if tag != "!" and tag not in {_CORE + kind for kind in kinds}:
            shown = tag.replace(_CORE, "!!")
            raise mark.error(f"the tag `{shown}` is not known here", hint=f"the only tag of templates is `{PUBLIC}`")


def _bad_key(key: Node) -> TemplateError:
    if key.mark.excerpt[key.mark.column - 2 : key.mark.column] == "{{":
        return key.mark.error("a key must be text, and is a mapping", hint="put {{ }} in quotes: '{{ name }}'")
    return key.mark.error("a key must be text", hint="quote it if it holds brackets")
