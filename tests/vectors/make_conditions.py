#!/usr/bin/env python3
"""Write the corpus of form conditions, `conditions.json`: for every interpreter of their trees the same answers.

    make_conditions.py [--check]

The answers are those of JavaScript: each condition is run by `node`, with the variables as an object. Rows are
[condition, answer, tree]; `refused` are conditions that no interpreter ever sees.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from libecs.language.condition import parse_condition, to_json

CORPUS = Path(__file__).parent / "conditions.json"
SEED = 3
ROWS = 300

VALUES = {
    "epn": "true",
    "qc": "false",
    "mode": "Expert",
    "option": "Repository hash",
    "empty": "",
    "zero": "0",
    "one": "1",
    "hex": "0x10",
    "padded": " 1.50 ",
    "exponent": "1e3",
    "underscore": "1_0",
    "word": "Infinity",
    "detectors": '["TPC","ITS","πΩ","😀x"]',
    "quote": "say \"hi\" \\ 'there'",
    "_private9": "y",
}

BY_HAND = [
    '$$epn === "true"',
    '$$epn === "true" && ($$option === "Repository hash" || $$option === "Repository path") && $$mode === "Expert"',
    "$$epn === 'true'&&!($$mode==='Shifter')",
    "$$epn === true",
    "$$epn == true",
    "$$one == true",
    "$$one == 1",
    "$$one === 1",
    "$$zero == false",
    "$$empty == 0",
    "$$empty == false",
    "$$hex == 16",
    "$$padded == 1.5",
    "$$padded == '1.5'",
    "$$exponent == 1000",
    "$$underscore == 10",
    "$$word == 'Infinity'",
    "$$unknown === 'x'",
    "$$unknown !== 'x'",
    "$$unknown == $$unheard_of",
    "$$unknown == ''",
    "$$unknown == false",
    "!$$unknown",
    "$$unknown || $$epn",
    "($$unknown || $$mode) === 'Expert'",
    "($$empty && $$mode) === ''",
    "($$epn && $$mode) === 'Expert'",
    "$$empty",
    "$$zero",
    "0",
    "-0",
    "-1.5",
    "''",
    "'0'",
    "true",
    "!false",
    "!!$$mode",
    "!$$mode === false",
    '$$detectors.includes("TPC")',
    '$$detectors.includes("EMC")',
    '$$detectors.includes("")',
    "$$one.includes(1)",
    "$$epn.includes(true)",
    "$$one.includes($$unknown)",
    "$$padded.includes(1.50)",
    '$$detectors.indexOf("TPC") === 2',
    '$$detectors.indexOf("EMC") === -1',
    '$$detectors.indexOf("x") !== -1',
    '$$detectors.indexOf("x") == 20',
    "$$quote === 'say \"hi\" \\\\ \\'there\\''",
    '$$quote === "say \\"hi\\" \\\\ \'there\'"',
    '"\\u0041" === "A"',
    '"\\ud83d\\ude00x" === "😀x"',
    '"a\\nb" !== "a\\tb"',
    "$$_private9 === 'y'",
    "((((((((($$epn)))))))))",
    "!!!!!!!!$$epn",
    " \t\n $$epn\n===\n'true' ",
]

REFUSED = [
    "", "   ", "epn === 'true'", "$$epn = 'true'", "$$epn === 'true", "$$epn ===", "=== 'true'", "($$epn", "$$epn)",
    "$$epn & $$qc", "$$epn | $$qc", "$$epn and $$qc", "$$a === $$b === $$c", "$$n > 3", "$$n >= 3", "$$a + $$b",
    "$$a ? $$b : $$c", "$$a.length", "$$a['x']", "$$a.b.c", "$$a.includes", "$$a.includes()", "$$a.includes('x','y')",
    "$$a.includes('x').toString()", "1.includes('1')", "alert(1)", "$$a.constructor('return 1')()", "window",
    "$$a; $$b", "$$a, $$b", "`x`", "`${$$a}`", "/x/.test($$a)", "null", "undefined", "010", "1e3", "0x10",
    "1234567890123456", "0.1234567", "1.", ".5", "--1", "-$$a", "+1", "$a", "$$", "$$1", "$$é", "{}", "[]",
    "new Date()", "$$a\0",
    "$$a === '\\x41'", "$$a === '\\ud83d'", "'a\nb'", "!" * 33 + "$$a", "(" * 33 + "$$a" + ")" * 33, "$$a && " * 1000,
    "()", "!", "&& $$a", "$$a ||", "$$a !", "$$a $$b", "'a' 'b'", "=> 1", "$$a === /* c */ 'x'", "// c",
]  # fmt: skip


def conditions() -> Iterator[str]:
    """Go through those by hand, then random ones."""
    yield from BY_HAND
    chosen = random.Random(SEED)
    while True:
        yield expression(chosen, 4)


def expression(chosen: random.Random, depth: int) -> str:
    """Return a random condition."""
    if depth == 0 or chosen.random() < 0.15:
        return comparison(chosen)
    kind = chosen.choice(["&&", "||", "!", "()", "cmp"])
    inner = [expression(chosen, depth - 1) for _ in range(chosen.randint(2, 3))]
    if kind == "!":
        return f"!({inner[0]})"
    if kind == "()":
        return f"({inner[0]})"
    if kind == "cmp":
        return f"({inner[0]}) {chosen.choice(['===', '!==', '==', '!='])} ({inner[1]})"
    return f" {kind} ".join(f"({one})" if "||" in one else one for one in inner)


def comparison(chosen: random.Random) -> str:
    """Return a random comparison, or a value alone."""
    left, right = value(chosen), value(chosen)
    known = f"$${chosen.choice(list(VALUES))}"
    return chosen.choice(
        [left, f"!{left}", f"{known}.includes({right})", f"{known}.indexOf({left}) !== -1"]
        + [f"{left} {operator} {right}" for operator in ("===", "!==", "==", "!=")] * 2
    )


def value(chosen: random.Random) -> str:
    """Return a random value."""
    name = f"$${chosen.choice([*VALUES, 'unknown'])}"
    literal = chosen.choice(["0", "1", "-1", "16", "1.5", "true", "false", "''", "'0'", "'1'", '"true"', "'Expert'"])
    return name if chosen.random() < 0.6 else literal


def javascript(sources: list[str]) -> list[bool]:
    """Return what node says. A call on an undefined variable throws there; rows have none."""
    texts = [re.sub(r"\$\$([A-Za-z_]\w*)", r"v.\1", source) for source in sources]
    program = (
        f"const v = {json.dumps(VALUES)};"
        f"const texts = {json.dumps(texts)};"
        "const run = (text) => Boolean(new Function('v', 'return (' + text + ')')(v));"
        "console.log(JSON.stringify(texts.map(run)))"
    )
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True, timeout=60)
    answers: list[bool] = json.loads(done.stdout)
    return answers


def corpus() -> dict[str, Any]:
    """Return the content of the file."""
    sources: dict[str, None] = {}
    for source in conditions():
        if len(source) <= 140:
            sources[source] = None
        if len(sources) == ROWS:
            break
    answers = javascript(list(sources))
    rows = [[source, answer, to_json(parse_condition(source))] for source, answer in zip(sources, answers, strict=True)]
    return {"variables": VALUES, "conditions": rows, "refused": REFUSED}


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = corpus()
    lines = [json.dumps(row, ensure_ascii=True) for row in made["conditions"]]
    text = (
        f'{{"variables": {json.dumps(made["variables"])},\n"conditions": [\n'
        + ",\n".join(lines)
        + '\n],\n"refused": [\n'
        + ",\n".join(json.dumps(one) for one in made["refused"])
        + "\n]}\n"
    )
    if check:
        return int(CORPUS.read_text(encoding="ascii") != text)
    CORPUS.write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
