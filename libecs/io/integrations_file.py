"""Answers of integrations in one YAML file: `--integrations FILE.yaml` maps functions to what they answer.

dcs.StartOfRun: ok                    # the value, at once
odc.Configure:
value: done                         # default ""
delay: 250ms                        # default 0
error: the partition is gone        # the call fails
sets: {odc_state: READY}            # variables set on the root role
"""

from __future__ import annotations

import os
from pathlib import Path

from libecs.errors import InvalidInput
from libecs.io.integrations import Functions, Handler, Outcome
from libecs.io.kv_file import read_mapping
from libecs.language.duration import parse_duration
from libecs.language.yaml import Node, Scalar


def functions_of_file(path: Path) -> Functions:
    """Return what an integrations file says.

    Raises:
        NotFound: there is no such file.
        TemplateError: it is wrong, at file:line:column.
    """
    outcomes = {}
    for key, node in read_mapping(path, "integration functions and their answers") or ():
        name = key.text.strip().removesuffix("()")
        parts = name.split(".")
        if len(parts) != 2 or not all(part.isidentifier() for part in parts):
            raise key.mark.error(f"{key.text!r} names no function", hint="write integration.Method: value")
        outcomes[name] = _outcome(node, name)
    return Functions(
        place=os.fspath(path),
        handlers={name: _constant(outcome) for name, outcome in outcomes.items()},
        texts={name: outcome.value for name, outcome in outcomes.items()},
    )


def _constant(outcome: Outcome) -> Handler:
    return lambda _call: outcome


def _outcome(node: Node, name: str) -> Outcome:
    if isinstance(node, Scalar):
        return Outcome(value="" if node.is_null else node.text)
    mapping = node.expect_mapping(f"the answer of {name}")
    texts = {key.text: _text(value, key.text) for key, value in mapping if key.text != "sets"}
    for key, _ in mapping:
        if key.text not in ("value", "delay", "error", "sets"):
            raise key.mark.error(f"{name}: unknown key {key.text!r}", hint="allowed are value, delay, error and sets")
    try:
        delay_s = _seconds(texts.get("delay", "0"))
    except InvalidInput as error:
        raise mapping.require("delay", name).mark.error(f"{name}: {error.message}", hint=error.hint) from None
    sets = mapping.get("sets")
    variables = {} if sets is None else {key.text: _text(v, key.text) for key, v in sets.expect_mapping("`sets`")}
    return Outcome(value=texts.get("value", ""), error=texts.get("error", ""), delay_s=delay_s, sets=variables)


def _text(node: Node, what: str) -> str:
    if not isinstance(node, Scalar):
        raise node.mark.error(f"`{what}` must be a text")
    return "" if node.is_null else node.text


def _seconds(text: str) -> float | None:
    """Read a delay: a duration, a number of seconds, or "never"."""
    if text.strip() == "never":
        return None
    try:
        seconds = float(text)
    except ValueError:
        return parse_duration(text)
    if not 0 <= seconds < 1e9:
        raise InvalidInput(f"{text!r} is no delay")
    return seconds
