"""What workflow and task templates have in common: variables, channels, constraints, and reading them from nodes.

A wrong shape is a `TemplateError` at its place. What AliECS ignores silently, unknown keys above all, is a `Finding`:
the template works as it does there, and `coconut template check` shows what is probably a mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from collections.abc import Mapping as MappingOf
from enum import IntEnum

import attrs

from libecs.errors import InvalidInput
from libecs.language.duration import parse_duration
from libecs.language.expression import Text, compile_text
from libecs.language.marks import Mark
from libecs.language.yaml import Mapping, Node, Scalar, parse

MAX_TAGS = 10_000
"""Expressions in one file; the largest real one has 300."""

CHANNEL_TYPES = ("push", "pull", "pub", "sub")
TRANSPORTS = ("default", "zeromq", "nanomsg", "shmem")
ADDRESSINGS = ("tcp", "ipc")
_CHANNEL_KEYS = ("name", "type", "sndBufSize", "rcvBufSize", "rateLogging", "transport", "target")
_INBOUND_KEYS = ("addressing", "global")
VARIABLE_TYPES = ("string", "number", "bool", "list", "map")
_SPEC_KEYS = ("value", "type", "label", "description", "widget", "panel", "values", "index", "rows")
_CONDITIONS = ("visibleif", "enabledif")


class Severity(IntEnum):
    """How sure it is that a finding is a mistake; the worst is the highest."""

    HINT = 1
    """Works, and could be better; or it can't be told from here."""
    WARNING = 2
    """Allowed, and probably a mistake."""
    ERROR = 3
    """Does not work."""


@attrs.frozen(kw_only=True)
class Finding:
    """Something in a template that is allowed and probably a mistake."""

    mark: Mark
    message: str
    code: str = "note"
    """What kind of finding: a name that stays, such as `unknown-key`."""
    severity: Severity = Severity.WARNING
    hint: str = ""
    """What to do."""

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}" + (f"; {self.hint}" if self.hint else "")


@attrs.frozen(kw_only=True)
class VariableSpec:
    """How a user interface shows a variable. Of its entry only `value`, the variable's text, counts at run time."""

    type: str = "string"
    """string, number, bool, list or map."""
    label: str = ""
    description: str = ""
    widget: str = "editBox"
    panel: str = ""
    values: tuple[str, ...] = ()
    """Values that may be chosen; empty: any."""
    index: int = 0
    """Order inside the panel."""
    rows: int = 0
    """Height of an edit box in lines; 0: one."""
    visible_if: str = ""
    """JavaScript condition over `$$variable` references, for user interfaces."""
    enabled_if: str = ""
    marks: MappingOf[str, Mark] = attrs.field(factory=dict, eq=False, repr=False)
    """Key of the entry to the place of its value."""


@attrs.frozen(kw_only=True)
class Variable:
    """An entry of `defaults` or `vars`."""

    name: str
    text: Text
    mark: Mark
    """Place of the value."""
    spec: VariableSpec | None = None
    """Set for entries tagged !public."""


@attrs.frozen(kw_only=True)
class ConstraintTemplate:
    """An entry of `constraints`."""

    attribute: str
    value: Text
    mark: Mark


@attrs.frozen(kw_only=True)
class ChannelTemplate:
    """An entry of `bind` or `connect`. Buffer sizes count messages."""

    name: str
    type: str
    send_buffer: int = 1000
    receive_buffer: int = 1000
    rate_logging: str = "0"
    """Evaluated with the properties, at CONFIGURE, and not before."""
    transport: str = "default"
    target: Text
    addressing: str = "tcp"
    global_: Text
    mark: Mark


@attrs.define
class Reader:
    """Reads the pieces of one file and gathers findings about it."""

    findings: list[Finding] = attrs.field(factory=list)

    def note(
        self, mark: Mark, message: str, code: str = "note", *, severity: Severity = Severity.WARNING, hint: str = ""
    ) -> None:
        """Add a finding."""
        self.findings.append(Finding(mark=mark, message=message, code=code, severity=severity, hint=hint))

    def check_keys(self, mapping: Mapping, known: Iterable[str], what: str) -> None:
        """Note each key of `mapping` that is not in `known`."""
        known = tuple(known)
        for key, _ in mapping:
            if key.text not in known:
                close = difflib.get_close_matches(key.text, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else ""
                self.note(key.mark, f"unknown key {key.text!r} in {what} is ignored", "unknown-key", hint=hint)

    def text(self, mapping: Mapping, key: str, what: str, default: str = "") -> str:
        """Return the text at `key`, which is no template; `default` if it is absent or null."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return default
        return node.expect_scalar(f"`{key}` of {what}").text

    def template(self, mapping: Mapping, key: str, what: str, default: str = "") -> Text:
        """Return the text at `key`, compiled; `default` if it is absent or null."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return compile_text(default, node.mark if isinstance(node, Scalar) else mapping.mark)
        scalar = node.expect_scalar(f"`{key}` of {what}")
        return compile_text(scalar.text, scalar.mark)

    def integer(self, mapping: Mapping, key: str, what: str, default: int, *, signed: bool = False) -> int:
        """Return the integer at `key`. Raises `TemplateError` if it is none, or negative and not `signed`."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return default
        scalar = node.expect_scalar(f"`{key}` of {what}")
        wanted = "an integer" if signed else "an integer, 0 or more,"
        try:
            number = int(scalar.text)
        except ValueError:
            raise scalar.mark.error(f"`{key}` of {what} must be {wanted} and is {scalar.text!r}") from None
        if number < 0 and not signed:
            raise scalar.mark.error(f"`{key}` of {what} must be {wanted} and is {scalar.text!r}")
        return number

    def number(self, mapping: Mapping, key: str, what: str) -> float:
        """Return the number at `key`, 0 if it is absent. Raises `TemplateError` if it is none or negative."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return 0.0
        scalar = node.expect_scalar(f"`{key}` of {what}")
        try:
            number = float(scalar.text)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise scalar.mark.error(f"`{key}` of {what} must be a number, 0 or more, and is {scalar.text!r}")
        return number

    def boolean(self, mapping: Mapping, key: str, what: str, default: bool) -> bool:
        """Return true or false at `key`. Raises `TemplateError` if it is neither."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return default
        scalar = node.expect_scalar(f"`{key}` of {what}")
        value = {"true": True, "false": False}.get(scalar.text.strip().lower())
        if value is None:
            hint = "it can't depend on variables; use two roles with `enabled`" if "{{" in scalar.text else ""
            raise scalar.mark.error(f"`{key}` of {what} must be true or false, and is {scalar.text!r}", hint=hint)
        return value

    def choice(self, mapping: Mapping, key: str, what: str, allowed: tuple[str, ...], default: str) -> str:
        """Return the text at `key` in lower case, one of `allowed`. Raises `TemplateError` if it is another."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return default
        scalar = node.expect_scalar(f"`{key}` of {what}")
        text = scalar.text.strip().lower()
        if text not in allowed:
            raise scalar.mark.error(
                f"`{key}` of {what} must be one of {', '.join(allowed)}, and is {scalar.text!r}",
                hint=_similar(text, allowed),
            )
        return text

    def duration(self, node: Node, what: str) -> float:
        """Return the seconds that a scalar says. Raises `TemplateError` if it is no duration."""
        scalar = node.expect_scalar(what)
        try:
            return parse_duration(scalar.text)
        except InvalidInput as error:
            raise scalar.mark.error(f"{what}: {error.message}", hint=error.hint) from None

    def sequence(self, mapping: Mapping, key: str, what: str) -> tuple[Node, ...]:
        """Return the items of the list at `key`; none if it is absent or null."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return ()
        return node.expect_sequence(f"`{key}` of {what}").items

    def variables(self, mapping: Mapping, key: str, what: str) -> tuple[Variable, ...]:
        """Read `defaults` or `vars`."""
        node = mapping.get(key)
        if node is None or _is_null(node):
            return ()
        found = []
        for name, value in node.expect_mapping(f"`{key}` of {what}"):
            variable = self._variable(name, value, key)
            if variable is not None:
                found.append(variable)
        return tuple(found)

    def constraints(self, mapping: Mapping, what: str) -> tuple[ConstraintTemplate, ...]:
        """Read `constraints`."""
        found = []
        for node in self.sequence(mapping, "constraints", what):
            item = node.expect_mapping(f"a constraint of {what}")
            self.check_keys(item, ("attribute", "value"), "a constraint")
            attribute = item.require("attribute", "a constraint").expect_scalar("`attribute`").text
            if not attribute:
                raise item.mark.error("the attribute of a constraint is empty")
            item.require("value", "a constraint")
            value = self.template(item, "value", "a constraint")
            found.append(ConstraintTemplate(attribute=attribute, value=value, mark=item.mark))
        return tuple(found)

    def channels(self, mapping: Mapping, key: str, what: str) -> tuple[ChannelTemplate, ...]:
        """Read `bind` or `connect`."""
        inbound = key == "bind"
        found: dict[str, ChannelTemplate] = {}
        for node in self.sequence(mapping, key, what):
            item = node.expect_mapping(f"a channel in `{key}` of {what}")
            channel = self._channel(item, inbound)
            if channel.name in found:
                raise item.mark.error(
                    f"`{key}` of {what} has the channel {channel.name!r} twice, "
                    f"in lines {found[channel.name].mark.line} and {item.mark.line}",
                    hint="keep one of them",
                )
            found[channel.name] = channel
        return tuple(found.values())

    def _channel(self, item: Mapping, inbound: bool) -> ChannelTemplate:
        self.check_keys(item, _CHANNEL_KEYS + (_INBOUND_KEYS if inbound else ()), "a channel")
        name = item.require("name", "a channel").expect_scalar("`name` of a channel").text
        if not name or "{{" in name:
            raise item.mark.error(f"the name of a channel must be a plain text, and is {name!r}")
        what = f"channel {name!r}"
        item.require("type", what)
        return ChannelTemplate(
            name=name,
            type=self.choice(item, "type", what, CHANNEL_TYPES, ""),
            send_buffer=self.integer(item, "sndBufSize", what, 1000),
            receive_buffer=self.integer(item, "rcvBufSize", what, 1000),
            rate_logging=self.template(item, "rateLogging", what, "0").source,
            transport=self.choice(item, "transport", what, TRANSPORTS, "default"),
            target=self.template(item, "target", what),
            addressing=self.choice(item, "addressing", what, ADDRESSINGS, "tcp") if inbound else "tcp",
            global_=self.template(item, "global" if inbound else "", what),
            mark=item.mark,
        )

    def _variable(self, name: Scalar, value: Node, key: str) -> Variable | None:
        if isinstance(value, Scalar):
            text = "" if value.is_null else value.text
            spec = VariableSpec() if value.is_public else None
            return Variable(name=name.text, text=compile_text(text, value.mark), mark=value.mark, spec=spec)
        if isinstance(value, Mapping) and value.is_public:
            return self._public(name.text, value)
        kind = "a mapping without !public" if isinstance(value, Mapping) else "a list"
        self.note(
            name.mark,
            f"{name.text!r} in `{key}` is {kind} and is ignored",
            "not-text",
            severity=Severity.ERROR if key == "properties" else Severity.WARNING,
            hint="write text; a list as JSON text",
        )
        return None

    def _public(self, name: str, node: Mapping) -> Variable:
        what = f"variable {name!r}"
        self.check_keys(node, _SPEC_KEYS + _CONDITIONS, what)
        kind = self.text(node, "type", what, "string")
        if kind not in VARIABLE_TYPES:
            self.note(node.mark, f"{what} has the unknown type {kind!r}; it is shown as a string", "unknown-type")
            kind = "string"
        widget = self.text(node, "widget", what, "editBox")
        values = self.sequence(node, "values", what)
        value = node.get("value")
        spec = VariableSpec(
            type=kind,
            label=self.text(node, "label", what),
            description=self.text(node, "description", what),
            widget=widget,
            panel=self.text(node, "panel", what),
            values=tuple(item.expect_scalar(f"a value of {what}").text for item in values),
            index=self.integer(node, "index", what, 0, signed=True),
            rows=self.integer(node, "rows", what, 0),
            visible_if=self.text(node, "visibleif", what),
            enabled_if=self.text(node, "enabledif", what),
            marks={key.text: item.mark for key, item in node},
        )
        mark = value.mark if isinstance(value, Scalar) else node.mark
        return Variable(name=name, text=self.template(node, "value", what), mark=mark, spec=spec)


def parse_template(text: str | bytes, file: str) -> Node:
    """Return the tree of a template.

    Raises:
        TemplateError: as `yaml.parse`, or it holds more than `MAX_TAGS` expressions, which would take long to compile.
    """
    node = parse(text, file)
    if (tags := text.count("{{") if isinstance(text, str) else text.count(b"{{")) > MAX_TAGS:
        raise node.mark.error(f"the file has {tags} tags {{{{ }}}}, more than {MAX_TAGS}", hint="split it by `include`")
    return node


def check_name(root: Mapping, what: str, expected: str | None) -> str:
    """Return the `name` of a file, which must be `expected` (None: any).

    Raises:
        TemplateError: it is another, or there is none.
    """
    scalar = root.require("name", what).expect_scalar(f"`name` of {what}")
    if not scalar.text:
        raise scalar.mark.error(f"the name of {what} is empty")
    if expected is not None and scalar.text != expected:
        raise scalar.mark.error(
            f"{what} is named {scalar.text!r}, and its file {expected!r}", hint="name and file name must be the same"
        )
    return scalar.text


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_null


def _similar(text: str, allowed: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(text, allowed, 1)
    return f"did you mean {close[0]!r}?" if close else ""
