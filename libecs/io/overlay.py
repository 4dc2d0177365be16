"""Lay `command`, `user` and `wants` of one task template over another, as texts.

Texts and not trees: what stays keeps its line numbers, so that errors still point at the right place of its file.
"""

from __future__ import annotations

import yaml

from libecs.errors import InvalidInput

REPLACED = ("command", "wants")
"""Keys at the top of a template that are taken over. `user` is one inside of `command`, and may stand at the top of
the file that is laid over."""


def overlay(base: str, base_file: str, over: str, over_file: str) -> str:
    """Return the template `base` with what `over` says of command, user and wants.

    Raises:
        InvalidInput: one of them is no YAML, no mapping, or not written in block style.
    """
    over_root = _root(over, over_file)
    over_lines = over.splitlines()
    blocks = _blocks(over_lines, over_root)
    base_lines = base.splitlines()
    replaced = [key for key in REPLACED if key in blocks]
    base_blocks = _blocks(base_lines, _root(base, base_file))
    result = list(base_lines)
    for key in replaced:
        begin, end = base_blocks.get(key, (0, 0))
        result[begin:end] = [""] * (end - begin)  # the lines behind keep their numbers
    result += [""] if replaced else []
    for key in replaced:
        begin, end = blocks[key]
        result += over_lines[begin:end]
    if "user" in blocks:
        begin, end = blocks["user"]
        result = _with_user(result, base_file, "\n".join(over_lines[begin:end]).partition(":")[2].strip())
    return "\n".join(result) + "\n"


def _with_user(lines: list[str], file: str, user: str) -> list[str]:
    """Set `user` in the block `command`."""
    root = _root("\n".join(lines), file)
    command = next((value for key, value in root.value if key.value == "command"), None)
    if not isinstance(command, yaml.MappingNode) or command.flow_style or not command.value:
        raise InvalidInput(f"{file}: `command` is no block of keys; its `user` cannot be replaced")
    result = list(lines)
    begin, end = _blocks(lines, command).get("user", (0, 0))
    result[begin:end] = [""] * (end - begin)
    first = command.value[0][0].start_mark
    result[first.line] = f"{' ' * first.column}user: {user}\n{lines[first.line] if begin != first.line else ''}"
    return result


def _root(text: str, file: str) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is no YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise InvalidInput(f"{file} is no task template", hint="write its keys one below the other")
    return root


def _blocks(lines: list[str], mapping: yaml.MappingNode) -> dict[str, tuple[int, int]]:
    """Return for each key of a block mapping its first line and the one behind its last."""
    starts = [key.start_mark.line for key, _ in mapping.value]
    ends = [*starts[1:], min(mapping.end_mark.line + (1 if mapping.end_mark.column else 0), len(lines))]
    return {key.value: (begin, end) for (key, _), begin, end in zip(mapping.value, starts, ends, strict=True)}
