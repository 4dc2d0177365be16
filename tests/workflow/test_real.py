"""The real templates of production: all load, readout-dataflow expands, and its commands can be evaluated."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from libecs.config.tree import Tree
from libecs.language.task import read_task
from libecs.language.template import read_workflow
from libecs.wire.codec import pack_value, unpack_value
from libecs.workflow.channels import Endpoint, resolve
from libecs.workflow.expand import expand
from libecs.workflow.hooks import Hooks
from libecs.workflow.launch import Launcher, task_specials
from libecs.workflow.role import Workflow
from libecs.workflow.source import TextSource

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
YEARS = {
    2026: ("control-workflows", {"flp_workflows_jit_enabled": "false"}),
    2022: (
        "control-workflows-2022",
        {
            "ctp_readout_enabled": "false",
            "odc_enabled": "false",
            "dpl_command": "none",
            "dpl_workflow": "ft0-digits-qc",
        },
    ),
}
FILES = sorted(file for kind in ("workflows", "tasks") for file in REAL.glob(f"*/{kind}/*.yaml"))


def source(folder: Path) -> TextSource:
    files = {f"{file.parent.name}/{file.name}": file.read_text() for file in folder.glob("*/*.yaml")}
    return TextSource(files=files, repository=folder.name)


def dataflow(year: int, n_hosts: int, **variables: str) -> Workflow:
    folder, needed = YEARS[year]
    hosts = [f"flp{i:03d}" for i in range(1, n_hosts + 1)]
    keys = {}
    for i, host in enumerate(hosts):
        keys[f"o2/hardware/detectors/{('FT0', 'TPC', 'ITS')[i % 3]}/flps/{host}/aliases"] = "{}"
        for kind in ("standalone", "stfb"):
            keys[f"o2/components/readout/ANY/any/readout-{kind}-{host}"] = "[readout]"
    ids = itertools.count()
    return expand(
        source(REAL / folder),
        "readout-dataflow",
        {"hosts": json.dumps(hosts), "environment_id": "env", **needed, **variables},
        Tree.of(keys),
        ids=lambda: f"id{next(ids)}",
        base_defaults={"consul_endpoint": "consul:8500", "modulepath": "", "infologger_mode": "none"},
    )


def test_the_real_templates_are_there() -> None:
    assert len(FILES) > 30


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}/{file.parent.name}/{file.stem}")
def test_every_template_loads(file: Path) -> None:
    if file.parent.name == "tasks":
        assert read_task(file.read_text(), file.name, name=file.stem).name == file.stem
    else:
        assert read_workflow(file.read_text(), file.name, name=file.stem).name == file.stem


def test_public_variables_of_production_are_all_seen() -> None:
    text = (REAL / "control-workflows/workflows/readout-dataflow.yaml").read_text()
    template = read_workflow(text, "readout-dataflow.yaml", name="readout-dataflow")
    specs = [variable.spec for variable in template.variables() if variable.spec]

    assert template.public
    assert len(specs) == len(re.findall(r"^ +\w+: !public", text, re.MULTILINE)) == 111
    assert Counter(spec.widget for spec in specs) == {
        "editBox": 50,
        "dropDownBox": 37,
        "checkBox": 18,
        "comboBox": 4,
        "radioButtonBox": 1,
        "detectorSelector": 1,
    }
    assert sum(bool(spec.visible_if) for spec in specs) == 83


@pytest.mark.parametrize("n_hosts", [1, 4, 200])
@pytest.mark.parametrize("year", [2026, 2022])
def test_readout_dataflow_expands_the_same_for_each_host(year: int, n_hosts: int) -> None:
    workflow = dataflow(year, n_hosts, its_cru_enable="x")
    parts: dict[str, list[str]] = {}
    for role in workflow.roles:
        host, _, rest = role.path.removeprefix("readout-dataflow.").partition(".")
        if host.startswith("host-") and rest != "its-cru-enable":  # on ITS hosts only
            parts.setdefault(host, []).append(rest)

    assert len(parts) == n_hosts
    assert all(part == parts["host-flp001"] for part in parts.values())


@pytest.mark.parametrize("year", [2026, 2022])
def test_nothing_crosses_hosts(year: int) -> None:
    workflow = dataflow(year, 4)
    endpoints = {
        (role.path, channel.name): Endpoint(bind=f"ipc://{role.path}", connect=f"ipc://{role.path}")
        for role in workflow.roles
        for channel in role.bind
        if role.task
    }

    for path, properties in resolve(workflow, endpoints).items():
        host = path.split(".")[1]
        for key, value in properties.items():
            assert not key.endswith(".address") or value.split(".")[1] == host


@pytest.mark.parametrize("year", [2026, 2022])
def test_every_command_and_property_can_be_evaluated(year: int) -> None:
    workflow = dataflow(year, 2)
    launcher = Launcher(workflow)

    for index, role in enumerate(workflow.roles):
        if role.task is None:
            continue
        specials = task_specials(role, task_id=str(index), host="h", environment_id="env")
        command = launcher.command(index, specials)
        assert "{{" not in " ".join(command.argv)
        assert command.environment.get("O2_PARTITION", "env") == "env"
        launcher.properties(index, specials)


def test_the_readout_command_of_2026() -> None:
    workflow = dataflow(2026, 1)
    index = next(i for i, role in enumerate(workflow.roles) if role.name == "readout")

    command = Launcher(workflow).command(
        index, task_specials(workflow.roles[index], task_id="1", host="flp001", environment_id="env")
    )

    assert command.argv[2] == (
        "/opt/o2/bin/o2-readout-exe consul-ini://consul:8500/o2/components/readout/ANY/any/readout-stfb-flp001"
    )
    assert command.environment == {"O2_DETECTOR": "FT0", "O2_PARTITION": "env"}
    assert command.user == "flp"


def test_hooks_of_2026() -> None:
    workflow = dataflow(2026, 1, lhc_enabled="true", bookkeeping_enabled="true", bookkeeping_consuming_kafka="false")
    hooks = Hooks.of(workflow)

    steps = {
        step.weight: [workflow.roles[i].call.func for i in step.start if workflow.roles[i].call]  # type: ignore[union-attr]
        for step in hooks.at("before_START_ACTIVITY")
    }
    assert steps == {
        -50: ["lhc.UpdateFillInfo()"],
        10: ["bookkeeping.StartOfRun()"],
        11: ["bookkeeping.RetrieveFillInfo()"],
    }


@pytest.mark.parametrize("year", [2026, 2022])
def test_a_workflow_survives_the_journal(year: int) -> None:
    workflow = dataflow(year, 2)

    assert unpack_value(Workflow, pack_value(workflow)) == workflow
