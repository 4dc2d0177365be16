"""Calls: `name.Method(arguments)`, the text after `func:`, which is evaluated at each trigger."""

from __future__ import annotations

import attrs

from libecs.errors import ExpressionError, InvalidInput, quoted
from libecs.language.expression import Scope, Value, compile_expression

_HINT = "write integration.Method(arguments), such as dcs.StartOfRun()"


@attrs.frozen(kw_only=True)
class Call:
    """One call as it is made."""

    integration: str
    method: str
    arguments: tuple[Value, ...] = ()


def check_call(func: str) -> None:
    """Check that `func` is one call of an integration.

    Raises:
        InvalidInput: it is not.
    """
    source = func.strip()
    try:
        expression = compile_expression(source, None)
    except ExpressionError as error:
        raise InvalidInput(f"`func` is {quoted(func)}: {error.reason}", hint=error.hint or _HINT) from None
    name = source.partition("(")[0].strip()
    path = tuple(part.strip() for part in name.split("."))
    if len(path) != 2 or path not in expression.calls or not _is_whole(source):
        raise InvalidInput(f"`func` is {quoted(func)}, which is no call", hint=_HINT)


def parse_call(func: str, scope: Scope) -> Call:
    """Return the call that `func` means now: arguments are evaluated in `scope`.

    Raises:
        InvalidInput: it is no call.
        ExpressionError: an argument can't be evaluated.
    """
    check_call(func)
    source = func.strip()
    name, _, rest = source.partition("(")
    integration, _, method = (part.strip() for part in name.partition("."))
    arguments = compile_expression(f"[{rest[:-1]}]", None).evaluate(scope)
    assert isinstance(arguments, list), "a list literal"
    return Call(integration=integration, method=method, arguments=tuple(arguments))


def _is_whole(source: str) -> bool:
    """Return whether the bracket that opens the arguments is closed by the last character."""
    depth, quote, escaped = 0, "", False
    for at, character in enumerate(source):
        if quote:
            if escaped:
                escaped = False
            elif character == "\\" and quote != "`":
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "'\"`":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0 and at != len(source) - 1:
                return False
    return source.endswith(")")
