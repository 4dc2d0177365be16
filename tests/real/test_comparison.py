"""The comparison sees every kind of difference: each field of a right tree, changed alone, is reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .adapter import expand
from .oracle import INTEGRATIONS, ROOT, compare_tree, kv_of_few_hosts, preorder, scenarios

Node = dict[str, Any]

STFB = f"{ROOT}.host-flp001.data-distribution-dpl.stfb"
PROXY = f"{ROOT}.host-flp001.data-distribution-dpl.dpl.readout-proxy"
CHANGES: dict[str, tuple[str, Callable[[Node], object]]] = {
    "variable": (STFB, lambda node: node["vars"].update(dd_discovery_stfb_id="stfb-flp002-x")),
    "variable missing": (STFB, lambda node: node["vars"].clear()),
    "variable more": (STFB, lambda node: node["vars"].update(more="x")),
    "root default": (ROOT, lambda node: node["defaults"].update(odc_n_epns="11")),
    "root default more": (ROOT, lambda node: node["defaults"].update(ctp_readout_host="x")),
    "default": (f"{ROOT}.trg", lambda node: node["defaults"].update(trg_global_config="")),
    "kind": (STFB, lambda node: node.update(kind="call")),
    "critical": (f"{ROOT}.dcs.pfr", lambda node: node.update(critical=True)),
    "constraint": (STFB, lambda node: node["constraints"].clear()),
    "order of constraints": (f"{ROOT}.qc-servers.qc-remote-workflow-FT0", lambda node: node["constraints"].reverse()),
    "function": (f"{ROOT}.dcs.sor", lambda node: node["call"].update(func="dcs.EndOfRun()")),
    "weight": (f"{ROOT}.dcs.sor", lambda node: node["call"].update(trigger="before_START_ACTIVITY+99")),
    "moment": (f"{ROOT}.dcs.sor", lambda node: node["call"].update(trigger="after_START_ACTIVITY+100")),
    "await": (f"{ROOT}.odc.start", lambda node: node["call"].update({"await": "after_START_ACTIVITY"})),
    "timeout": (f"{ROOT}.odc.start", lambda node: node["call"].update(timeout="61s")),
    "class": (STFB, lambda node: node["task"].update({"class": "stfsender"})),
    "mode": (STFB, lambda node: node["task"].update(mode="direct")),
    "trigger of a task": (STFB, lambda node: node["task"].update(trigger="DESTROY")),
    "alias": (STFB, lambda node: node["task"]["bind"][0].update({"global": ""})),
    "addressing": (STFB, lambda node: node["task"]["bind"][0].update(addressing="tcp")),
    "buffer": (STFB, lambda node: node["task"]["bind"][0].update(sndBufSize=5)),
    "transport": (STFB, lambda node: node["task"]["bind"][0].update(transport="zeromq")),
    "target": (STFB, lambda node: node["task"]["connect"][0].update(target="x:y")),
    "type": (STFB, lambda node: node["task"]["connect"][0].update(type="sub")),
    "channel missing": (PROXY, lambda node: node["task"]["connect"].pop()),
    "role missing": (f"{ROOT}.kafka", lambda node: node["children"].pop()),
    "order of roles": (f"{ROOT}.kafka", lambda node: node["children"].reverse()),
    "role twice": (f"{ROOT}.kafka", lambda node: node["children"].append(node["children"][0])),
}


@pytest.fixture(scope="module")
def right(repos: dict[int, Path]) -> Node:
    return expand(repos[2026], ROOT, scenarios(2026)["full"].variables, kv_of_few_hosts(), INTEGRATIONS)


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_tree_differs(change: str, right: Node) -> None:
    path, apply = CHANGES[change]
    tree = copy.deepcopy(right)

    nodes: dict[str, Any] = {node["path"]: node for node in preorder(tree)}
    apply(nodes[path])

    assert list(compare_tree(scenarios(2026)["full"], right)) == []
    assert list(compare_tree(scenarios(2026)["full"], tree)) != []
