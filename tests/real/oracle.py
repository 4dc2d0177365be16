"""What the tests of the real templates share: inputs, the expected files, and the comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
REAL = HERE.parents[1].parent / "shared" / "real"
"""Real inputs lie beside the project; where they are missing tests fail, they do not skip."""

FOLDERS = {2026: "control-workflows", 2022: "control-workflows-2022"}
ROOT = "readout-dataflow"
FILE = f"workflows/{ROOT}.yaml"
ENVIRONMENT_ID = "2oracleEnv1"
INTEGRATIONS = {
    "odc.GenerateEPNTopologyFullname": "(oracle-hash, production/production.desc, synchronous-workflow)",
    "odc.GenerateEPNWorkflowScript": "ORACLE='script' gen_topo.sh",
}
UID = r"[0-9A-Za-z_-]+"


# --- inputs ----------------------------------------------------------------------------------------------------------


def build_repo(year: int, target: Path) -> Path:
    """Copy the templates of a year; lay the generated ft0-digits-qc of 2022 and our stand-ins over the copy."""
    layers = [(REAL / FOLDERS[year], "*"), (REAL / FOLDERS[2022], "ft0-digits-qc*"), (HERE / "overlay", "*")]
    for source, pattern in layers:
        for folder in ("workflows", "tasks", "jit"):
            (target / folder).mkdir(parents=True, exist_ok=True)
            for file in sorted((source / folder).glob(pattern)):
                (target / folder / file.name).write_bytes(file.read_bytes())
    return target


@cache
def kv_of_few_hosts() -> dict[str, Any]:
    return dict(yaml.safe_load((HERE / "kv.yaml").read_text()))


def hosts_of_200(detectors: Sequence[str]) -> dict[str, str]:
    """Give host to detector: flp001 .. flp200, detectors in turn."""
    return {f"flp{i:03d}": detectors[(i - 1) % len(detectors)] for i in range(1, 201)}


def kv_of_200_hosts(detectors: Sequence[str]) -> dict[str, Any]:
    """Build the tree for 200 hosts: inventory, and both readout entries of each in readout/ANY/any."""
    runtime = kv_of_few_hosts()["o2"]["runtime"]
    hosts = hosts_of_200(detectors)
    inventory = {
        detector: {"flps": {host: {"aliases": "{}"} for host, of in hosts.items() if of == detector}}
        for detector in detectors
    }
    entries = {f"readout-{kind}-{host}": "[x]" for host in hosts for kind in ("standalone", "stfb")}
    return {
        "o2": {
            "runtime": runtime,
            "hardware": {"detectors": inventory},
            "components": {"readout": {"ANY": {"any": entries}}},
        }
    }


def as_json(names: Sequence[str]) -> str:
    return "[" + ",".join(f'"{name}"' for name in names) + "]"


# --- expected files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """One set of variables with what is expected of it.

    `paths`: whole role paths in order. `roles`: entries of the expected files. `complete`: `roles` has every role.
    `error`: the entry of an expected error, then nothing else is expected.
    """

    name: str
    year: int
    variables: dict[str, str]
    paths: tuple[str, ...] = ()
    roles: tuple[Mapping[str, Any], ...] = ()
    complete: bool = False
    error: Mapping[str, Any] | None = None
    root_defaults: Mapping[str, Any] | None = None
    cited: tuple[tuple[str, Any], ...] = field(default=(), repr=False)


@cache
def document(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((HERE / "expected" / f"{name}.yaml").read_text()))


def flat(paths: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Give (path below the root, at) of a list that may contain lists."""
    for item in paths:
        if isinstance(item, Mapping):
            yield from ((item["below"] + path, at) for path, at in item["list"])
        else:
            yield item[0], item[1]


def one_host_scenario(year: int, name: str) -> Scenario:
    content = document(f"{year}-{name}")
    return Scenario(
        name=name,
        year=year,
        variables=content["variables"],
        paths=tuple(ROOT + role["path"] for role in content["roles"]),
        roles=tuple(content["roles"]),
        complete=True,
        root_defaults=content["root_defaults"],
    )


def branch_scenarios(year: int) -> list[Scenario]:
    content = document(f"{year}-branches")
    out = []
    for name, entry in content["scenarios"].items():
        cited = tuple(flat(entry["paths"]))
        out.append(
            Scenario(
                name=name,
                year=year,
                variables={**content["common"], **entry["variables"]},
                paths=tuple(ROOT + path for path, _ in cited),
                roles=tuple(entry.get("roles", ())),
                cited=cited,
            )
        )
    return out + error_scenarios(year, "branches")


def error_scenarios(year: int, name: str) -> list[Scenario]:
    content = document(f"{year}-{name}")
    common = content.get("common", {})
    return [
        Scenario(
            name=name,
            year=year,
            variables={key: value for key, value in common.items() if key not in entry.get("unset", ())}
            | entry["variables"],
            error=entry["error"],
        )
        for name, entry in content["errors"].items()
    ]


@cache
def scenarios(year: int) -> dict[str, Scenario]:
    """Give every scenario with one host, by name."""
    found = [one_host_scenario(year, "base"), one_host_scenario(year, "full"), *branch_scenarios(year)]
    return {scenario.name: scenario for scenario in found}


@cache
def scenario_of_200(year: int) -> Scenario:
    """Spell the rule for 200 hosts out. The order of paths is not part of the rule."""
    content = document(f"{year}-200")
    rule, hosts = content["rule"], hosts_of_200(content["detectors"])
    paths = [path for path, _ in rule["once"]]
    for detector in content["detectors"]:
        paths += [path.replace("{detector}", detector) for path, _ in rule["per_detector"]]
    for host, detector in hosts.items():
        of = rule["per_host_of"]
        paths += [path.replace("{host}", host) for path, _ in rule["per_host"] + of.get(detector, of["others"])]
    return Scenario(
        name="200",
        year=year,
        variables={"hosts": as_json(list(hosts)), **content["variables"]},
        paths=tuple(ROOT + path for path in paths),
        roles=tuple(content["roles"]),
    )


# --- the root's defaults, read line by line --------------------------------------------------------------------------

KEY = re.compile(r"^  ([A-Za-z_]\w*) ?: *(?P<rest>.*?) *$")
VALUE = re.compile(r"^    value: *(?P<rest>.*?) *$")


def plain(text: str) -> str:
    """Give the value of a one-line scalar: quotes and a comment taken away."""
    if text[:1] in ("'", '"'):
        return text[1 : text.index(text[0], 1)]
    return re.sub(r"(^| +)#.*", "", text)


def literal_defaults(lines: Sequence[str], first: int, last: int) -> dict[str, str]:
    """Read `name: value` and `name: !public` + `value:` of lines first to last (from 1); no YAML reader is asked."""
    found: dict[str, str] = {}
    name, public = "", False
    for line in lines[first - 1 : last]:
        if match := KEY.match(line):
            name, rest = match[1], match["rest"]
            public = rest.startswith("!public")
            if not public and not rest.startswith("#") and rest:
                found[name] = plain(rest)
        elif public and (match := VALUE.match(line)):
            found[name] = plain(match["rest"])
    return found


def expected_root_defaults(scenario: Scenario) -> dict[str, str]:
    rule = scenario.root_defaults or {}
    lines = (REAL / FOLDERS[scenario.year] / FILE).read_text().splitlines()
    values = literal_defaults(lines, *rule["lines"])
    return {**values, **{name: value for name, (_, value) in rule["evaluated"].items()}}


# --- comparison ------------------------------------------------------------------------------------------------------


def agrees(expected: Any, actual: Any) -> bool:
    """Tell whether a text is the expected one: {uid} is any identifier, a mapping gives starts, contains, ends."""
    if not isinstance(actual, str):
        return False
    if isinstance(expected, Mapping):
        wanted = {key: text.replace("{environment_id}", ENVIRONMENT_ID) for key, text in expected.items()}
        return (
            actual.startswith(wanted.get("starts", ""))
            and actual.endswith(wanted.get("ends", ""))
            and wanted.get("contains", "") in actual
        )
    text = re.escape(expected.replace("{environment_id}", ENVIRONMENT_ID))
    return re.fullmatch(text.replace(re.escape("{uid}"), UID), actual) is not None


def compare_layer(where: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[str]:
    """Compare what one role defines; expected values are [at, value]."""
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            yield f"{where}.{name} is missing"
        elif name not in expected:
            yield f"{where}.{name} is not expected: {actual[name]!r}"
        elif not agrees(expected[name][1], actual[name]):
            yield f"{where}.{name} is {actual[name]!r}, expected {expected[name][1]!r} (line {expected[name][0]})"


def compare_paths(expected: Sequence[str], actual: Sequence[str], *, ordered: bool = True) -> Iterator[str]:
    for path in sorted(set(expected) - set(actual)):
        yield f"{path} is missing"
    for path in sorted(set(actual) - set(expected)):
        yield f"{path} is not expected"
    if len(actual) != len(set(actual)):
        yield "a path is there twice"
    if ordered and sorted(expected) == sorted(actual) and list(expected) != list(actual):
        yield "the order of the roles differs"


def preorder(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        yield from preorder(child)


MOMENT = re.compile(r"(?P<moment>\w+?)(?P<weight>[+-]\d+)?")


def moment(text: str) -> list[Any]:
    """Give [moment, weight] of a trigger's text, [] of none."""
    if not text:
        return []
    match = MOMENT.fullmatch(text)
    return [match["moment"], int(match["weight"] or 0)] if match else [text, None]


def compare_tree(scenario: Scenario, tree: Mapping[str, Any]) -> Iterator[str]:
    """Give the differences between a scenario and the JSON tree of an expansion, the cheapest first."""
    nodes = {node["path"]: node for node in preorder(tree)}
    ordered = scenario.name != "200"
    yield from compare_paths(scenario.paths, [node["path"] for node in preorder(tree)], ordered=ordered)
    for role in scenario.roles:
        if node := nodes.get(ROOT + role["path"]):
            yield from compare_role(role, node, scenario)


def compare_role(role: Mapping[str, Any], node: Mapping[str, Any], scenario: Scenario) -> Iterator[str]:
    where = node["path"]
    kind = "task" if "task" in role else "call" if "call" in role else "aggregator"
    if node["kind"] != kind:
        yield f"{where} is a {node['kind']}, expected {kind}"
        return
    if node["name"] != where.rpartition(".")[2]:
        yield f"{where} has the name {node['name']!r}"
    yield from compare_layer(f"{where}: vars", role.get("vars", {}), node["vars"])
    if role["path"] == "" and scenario.root_defaults:
        defaults = {name: (0, value) for name, value in expected_root_defaults(scenario).items()}
        yield from compare_layer(f"{where}: defaults", defaults, node["defaults"])
    elif role["path"]:
        yield from compare_layer(f"{where}: defaults", role.get("defaults", {}), node["defaults"])
    yield from compare_constraints(role, node)
    if kind != "aggregator":
        yield from compare_hook(role, node, node[kind])
    if kind == "call" and node["call"]["func"] != role["call"]:
        yield f"{where} calls {node['call']['func']!r}, expected {role['call']!r}"
    if kind == "task":
        yield from compare_task(role, node)


def compare_constraints(role: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    expected = [[attribute, value] for pair in role.get("constraints", []) for attribute, value in pair.items()]
    actual = [[constraint["attribute"], constraint["value"]] for constraint in node["constraints"]]
    if actual != expected:
        yield f"{node['path']}: constraints {actual}, expected {expected}"


def compare_hook(role: Mapping[str, Any], node: Mapping[str, Any], traits: Mapping[str, Any]) -> Iterator[str]:
    where = node["path"]
    trigger = role.get("trigger", [])
    timeout = role["timeout"][0] if isinstance(role["timeout"], list) else role["timeout"]
    for name, expected, actual in (
        ("trigger", trigger, moment(traits["trigger"])),
        ("await", role.get("await", trigger), moment(traits["await"])),
        ("timeout", seconds(timeout), seconds(traits["timeout"])),
        ("critical", role["critical"], node["critical"]),
    ):
        if actual != expected:
            yield f"{where}: {name} {actual!r}, expected {expected!r}"


UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> int:
    """Give the seconds of a duration such as 310s or 5m10s; both spell the same timeout."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def compare_task(role: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    where, task = node["path"], node["task"]
    name = task["class"].rpartition("/")[2].partition("@")[0]
    if (name, task["mode"]) != (role["task"]["class"], role["task"]["mode"]):
        yield f"{where}: {name} ({task['mode']}), expected {role['task']}"
    for side in ("bind", "connect"):
        expected = [channel_expected(channel, side) for channel in role[side]]
        actual = [channel_actual(channel, side) for channel in task[side]]
        if actual != expected:
            yield f"{where}: {side} {actual}, expected {expected}"


def channel_expected(channel: Mapping[str, Any], side: str) -> dict[str, str]:
    shown = {
        "name": channel["name"],
        "type": channel["type"],
        "sndBufSize": str(channel.get("snd", 1000)),
        "rcvBufSize": str(channel.get("rcv", 1000)),
        "transport": channel.get("transport", "default"),
        "target": channel.get("target", ""),
    }
    if side == "bind":  # an outbound channel has neither
        shown |= {"addressing": channel.get("addressing", "tcp"), "global": channel.get("global", "")}
    return shown


def channel_actual(channel: Mapping[str, Any], side: str) -> dict[str, str]:
    fields = ["name", "type", "sndBufSize", "rcvBufSize", "transport", "target"]
    fields += ["addressing", "global"] if side == "bind" else []
    return {name: str(channel.get(name) or "") for name in fields}


def compare_rates(scenario: Scenario, tree: Mapping[str, Any]) -> Iterator[str]:
    """Compare rateLogging of all channels: apart from the rest, so that it can't hide anything else."""
    nodes = {node["path"]: node for node in preorder(tree)}
    for role in scenario.roles:
        for side in ("bind", "connect") if "task" in role else ():
            for channel, actual in zip(role[side], nodes[ROOT + role["path"]]["task"][side], strict=True):
                if actual["rateLogging"] != channel["rate"]:
                    yield f"{role['path']}: {channel['name']}: {actual['rateLogging']!r}, expected {channel['rate']!r}"


def address(path: str, channel: str) -> str:
    """Give the address that the tests let placement choose for an inbound channel."""
    return f"ipc://@{path}/{channel}"


def channel_properties(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Give chans.* of every controlled task by role path, from the channels written by hand (spec 4.8)."""
    tasks = [role for role in scenario.roles if "task" in role]
    bound = {}
    for role in tasks:
        for channel in role["bind"]:
            entry = (address(ROOT + role["path"], channel["name"]), channel.get("transport", "default"))
            bound[f"{ROOT}{role['path']}:{channel['name']}"] = entry
            if "global" in channel:
                bound[f"::{channel['global']}"] = entry
    out: dict[str, dict[str, str]] = {}
    for role in tasks:
        if role["task"]["mode"] in ("direct", "fairmq"):
            own = out.setdefault(ROOT + role["path"], {})
            for channel in role["bind"]:
                where = bound[f"{ROOT}{role['path']}:{channel['name']}"]
                own |= one_channel(channel, "bind", *where)
            for channel in role["connect"]:
                own |= one_channel(channel, "connect", *bound[channel["target"]])
    return out


def one_channel(channel: Mapping[str, Any], method: str, where: str, transport: str) -> dict[str, str]:
    prefix = f"chans.{channel['name']}."
    values = {
        "address": where,
        "method": method,
        "rateLogging": channel["rate"],
        "rcvBufSize": str(channel.get("rcv", 1000)),
        "rcvKernelSize": "0",
        "sndBufSize": str(channel.get("snd", 1000)),
        "sndKernelSize": "0",
        "transport": transport,  # the binder's, also for the other end
        "type": channel["type"],
    } | ({"autoBind": "0"} if method == "bind" else {})
    return {prefix + "numSockets": "1"} | {f"{prefix}0.{name}": value for name, value in values.items()}


def error_problems(scenario: Scenario, error: Exception) -> Iterator[str]:
    """Compare an error of libecs with the expected one: code, role path, line, and the function it names."""
    expected = scenario.error or {}
    shown = {name: getattr(error, name, None) for name in ("code", "path", "file", "line", "reason")}
    line = expected["at"]
    for name, value in (("path", ROOT + expected["path"]), ("file", FILE), ("line", line)):
        if shown[name] != value:
            yield f"{name} {shown[name]!r}, expected {value!r}: {error}"
    if "code" in expected and shown["code"] != expected["code"]:
        yield f"code {shown['code']}, expected {expected['code']}: {error}"
    if "says" in expected and not re.search(rf"(?<![\w.]){re.escape(expected['says'])}(?![\w])", str(shown["reason"])):
        yield f"{shown['reason']!r} does not name {expected['says']}"


ALL = [scenario for year in (2026, 2022) for scenario in scenarios(year).values()]
TREES = [scenario for scenario in ALL if scenario.error is None]
ERRORS = [scenario for scenario in ALL if scenario.error] + error_scenarios(2026, "resolve")


def named(scenario: Scenario) -> str:
    """Return the name of a test of a scenario."""
    return f"{scenario.year}-{scenario.name}"
