"""Write docs/coconut.md, the reference of the command line, from the verbs themselves.

python tools/generate_cli.py           writes it
python tools/generate_cli.py --check   exit status 1 if it is not what would be written
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ecsd.coconut.lazy import LazyGroup
from ecsd.coconut.main import coconut
from ecsd.coconut.schemas import SCHEMAS

PLACE = Path(__file__).resolve().parents[1] / "docs" / "coconut.md"
HEAD = """# coconut

The command line of the control system. This page is made from the verbs by `tools/generate_cli.py`;
`coconut VERB --help` says the same.

**Which core.** `--context NAME`, else `$ECS_CONTEXT`, else `$ECS_CORE` with `$ECS_KEY_FILE` and `$ECS_CORE_KEY`, else
what `coconut context use` chose, else the core that you run on this machine. NAME may also be the address of a core,
`tcp://head:47102`, or the path of the state folder of one that runs here, with a `/` in it. With `--local --state DIR`
there is no core: the control system is in the process of the verb, and what it has made goes on after it. Verbs about
templates read a folder or an address with `--repo PLACE`, and the current folder if it holds `workflows/`.

**When nobody answers.** A core that refuses the connection is tried for a second, one that is silent for about three;
`--connect-timeout 30s`, or `$ECS_CONNECT_TIMEOUT`, for so long: in scripts that have just started one. Exit code 6.

**What is printed.** Data on stdout, messages and progress on stderr; verbs that wait take `-q`, which leaves progress
out. `--json` prints one document with a `schema`, streams print one a line; `coconut about --schema NAME` prints the
JSON Schema. Lists take `-o table|wide|name|json|yaml` and `--fields a,b`. An error is `{"error": {"code", "message",
"hint", …}}`. Progress is a tree that lives on a terminal, and lines elsewhere; `NO_COLOR` is obeyed.

**Exit codes.**

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage |
| 3 | not found |
| 4 | conflict: locked, busy, asked too often, or not possible now: in this state, on a full disk |
| 5 | denied: key, role, scope |
| 6 | nobody answers |
| 7 | the environment is in ERROR |
| 8 | timed out waiting; the operation goes on |
| 9 | a template, variable or plan is wrong |
| 10 | done, but something that is not critical failed, or the run was degraded |
| 130 | interrupted; an operation goes on, and the message says how to follow it |

**Where options stand.** Behind the verb: `coconut environment list --context p2`.

**Waiting.** Verbs that begin an operation wait for its end. `--no-wait` prints its id at once; `--timeout 30s` ends the
wait with 8; Ctrl-C lets go. In each case the operation goes on: `coconut operation follow ID` waits again, from any
machine.

**Asking.** What loses something is asked on a terminal: y or n, and to end a RUNNING environment its name. `--yes` asks
nothing; without a terminal nobody is asked, and the options decide. `--dry-run` says what would be done.

**Values.** `-e a=1,b=2`, `-e '{"hosts": ["x"]}'`, `-e @file.yaml`, `-e -` (standard input); a later one wins.

**Completion.** `source <(coconut completion bash)`, also for zsh and fish: verbs, options, and the names of
environments, tasks, roles, templates and their variables, nodes, detectors, runs, operations and contexts.

What options that several verbs share mean is said above; below, each verb names those that it takes.
"""
COMMON = {
    "--context": "--context",
    "--connect-timeout": "--connect-timeout",
    "--local": "--local",
    "--state": "--state",
    "--wait": "--no-wait",
    "--timeout": "--timeout",
    "--quiet": "-q",
    "--json": "--json",
    "--output": "-o",
    "--fields": "--fields",
}
"""Options that the head of the page tells of, and how each is written below a verb that takes it."""


def pages(group: LazyGroup, path: tuple[str, ...]) -> Iterator[str]:
    """Return the section of each verb, in the order of the tables."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = (*path, name)
        if isinstance(command, LazyGroup):
            yield f"\n## {' '.join(words)}\n\n{command.help}\n"
            yield from pages(command, words)
        else:
            yield from page(command, words, group.aliases(name))


def page(command: click.Command, words: tuple[str, ...], aliases: tuple[str, ...]) -> Iterator[str]:
    """Return the section of one verb."""
    context = click.Context(command, info_name=" ".join(words))
    level = "##" if len(words) == 2 else "###"
    yield f"\n{level} {' '.join(words)}\n"
    text, _, examples = (command.help or "").partition("\b")
    yield "\n" + re.sub(r"\n\s*\n", "\n\n", "\n".join(line.strip() for line in text.strip().splitlines())) + "\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n```\n{' '.join(words)} {usage}\n"
    yield from (
        f"{line.strip()}\n"
        for line in examples.splitlines()
        if line.strip().startswith(("coconut", "echo", "ssh", "source"))
    )
    yield "```\n"
    if aliases:
        yield f"\nAlso: {', '.join(f'`{alias}`' for alias in aliases)}\n"
    rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    shared = [word for word in COMMON if any(word in _words(row[0]) for row in rows)]
    rows = [row for row in rows if not any(word in _words(row[0]) for word in (*COMMON, "--help"))]
    if rows:
        yield "\n| option | |\n|---|---|\n"
        yield from (f"| `{_cell(option)}` | {_cell(help_)} |\n" for option, help_ in rows)
    if shared:
        yield f"\nShared: {' '.join(f'`{COMMON[word]}`' for word in shared)}\n"


def _words(option: str) -> list[str]:
    return re.split(r"[ ,/]+", option)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def document() -> str:
    """Return the page."""
    schemas = "\n## Schemas\n\n" + "".join(f"`{name}` " for name in SCHEMAS).rstrip() + "\n"
    return HEAD + "".join(pages(coconut, ("coconut",))) + schemas


def main() -> int:
    """Write or check."""
    text = document()
    if "--check" in sys.argv[1:]:
        return 0 if PLACE.read_text(encoding="utf-8") == text else 1
    PLACE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
