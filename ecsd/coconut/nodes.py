"""`--nodes`: how many nodes this machine plays, or a file that describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from libecs.errors import InvalidInput, NotFound, UsageError
from libecs.io.embedded import NodeDescription
from libecs.language import yaml
from libecs.workflow.role import Workflow

_KEYS = ("name", "attributes", "cpus", "memory", "ports")


def nodes_for(text: str, variables: Mapping[str, str], workflow: Workflow) -> list[NodeDescription]:
    """Return the nodes that `--nodes` means; without it, one for each `machine_id` that the workflow asks for."""
    if text:
        return parse_nodes(text, variables)
    wanted = {
        constraint.value: None
        for role in workflow.roles
        if role.task is not None
        for constraint in role.constraints
        if constraint.attribute == "machine_id"
    }
    return [node(name) for name in wanted or ["node1"]]


def parse_nodes(text: str, variables: Mapping[str, str]) -> list[NodeDescription]:
    """Return the nodes that `--nodes` means.

    A number makes that many, whose `machine_id` are the hosts of the variable `hosts` where it is given, else node1,
    node2 and so on. A file holds a list of mappings: name, attributes, cpus, memory (MB), ports (`9000-9100, 9200`);
    without ports, a node gets some that are free when it starts.

    Raises:
        UsageError: neither a number nor a file.
        NotFound: there is no such file.
        InvalidInput: the file is wrong.
    """
    if text.isdigit():
        count = int(text)
        if not 1 <= count <= 64:
            raise UsageError(f"--nodes {text}: between 1 and 64 nodes fit on one machine")
        return [node(name) for name in node_names(count, variables)]
    path = Path(text)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {text}: {error.strerror}", hint="--nodes takes a number or a YAML file") from None
    entries = yaml.parse(content, text).expect_sequence("a file of nodes")
    nodes = [_described(entry.expect_mapping("a node")) for entry in entries]
    if not nodes:
        raise InvalidInput(f"{text} describes no node")
    names = [one.name for one in nodes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"{text} describes node {twice[0]} twice")
    return nodes


def node_names(count: int, variables: Mapping[str, str]) -> list[str]:
    """Return names for `count` nodes: the hosts of the request first, then others that are not among them."""
    hosts: list[str] = []
    try:
        given = json.loads(variables.get("hosts") or "[]")
    except json.JSONDecodeError:
        given = []  # expansion says what is wrong with it
    if isinstance(given, list):
        hosts = [host for host in given if isinstance(host, str)]
    others = [f"node{n}" for n in range(1, count + 1)]
    return [*hosts, *(name for name in others if name not in hosts)][:count]


def node(name: str) -> NodeDescription:
    """Return a node of this machine. Its CPUs and memory are not shared out: stand-ins need little. Ports are found."""
    return NodeDescription(name=name, attributes={"machine_id": name})


def _described(entry: yaml.Mapping) -> NodeDescription:
    unknown = [key.text for key, _ in entry if key.text not in _KEYS]
    if unknown:
        raise entry.mark.error(f"a node has no {unknown[0]!r}", hint=f"it has {', '.join(_KEYS)}")
    name = entry.require("name", "a node").expect_scalar("`name`").text
    attributes = {"machine_id": name}
    given = entry.get("attributes")
    if given is not None:
        mapping = given.expect_mapping("`attributes`")
        attributes |= {key.text: value.expect_scalar(f"attribute {key.text}").text for key, value in mapping}
    ports = entry.get("ports")
    return NodeDescription(
        name=name,
        attributes=attributes,
        cpus=_number(entry, "cpus"),
        memory_mb=_number(entry, "memory"),
        ports=() if ports is None else _ports(ports),
    )


def _number(entry: yaml.Mapping, key: str) -> float:
    value = entry.get(key)
    if value is None:
        return 0.0
    scalar = value.expect_scalar(f"`{key}`")
    try:
        number = float(scalar.text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise scalar.mark.error(f"`{key}` is a number, not {scalar.text!r}")
    return number


def _ports(node: yaml.Node) -> tuple[tuple[int, int], ...]:
    scalar = node.expect_scalar("`ports`")
    ranges = []
    for part in scalar.text.split(","):
        low, _, high = part.partition("-")
        try:
            ends = (int(low), int(high or low))
        except ValueError:
            ends = (0, 0)
        if not 1 <= ends[0] <= ends[1] <= 65535:
            raise scalar.mark.error(f"{part.strip()!r} is no range of TCP ports", hint="write 9000-9100, 9200")
        ranges.append(ends)
    return tuple(ranges)
