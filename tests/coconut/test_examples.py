"""The examples in help texts: each is a command line that parses, and those that need a core are carried out on one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from fieldkit.cluster import Cluster

from ecsd.coconut.lazy import LazyGroup
from ecsd.coconut.main import coconut as command
from tests.coconut.conftest import Coconut

pytestmark = pytest.mark.timeout(600)

DEMO = """
name: demo
defaults: {value: "1", rate: "1", burst: "1"}
roles:
  - name: node1
    constraints: [{attribute: machine_id, value: n1}]
    roles:
      - {name: source, task: {load: worker}}
      - {name: filter, task: {load: worker}}
  - name: tpc
    vars: {detector: tpc}
    constraints: [{attribute: machine_id, value: n2}]
    roles:
      - {name: qc, task: {load: worker}}
"""

ORDER = """
environment create demo --dry-run
environment create demo --name shift -e rate=100
environment destroy 2q0S --keep-tasks --yes
task list --idle --json
task clean --dry-run
task clean
environment create demo --name demo
environment list
environment list -o wide
environment list --fields environment,state --json
environment show 2q0A
environment show demo --tasks
environment show demo --json
environment logs demo
role query demo '**.source'
role query 2q0A demo.node1 --json
task list
task list --environment demo -o wide
task show demo source@node1
task show 2q0Ax3 --json
task logs demo source@node1
task logs 2q0Ax3 --stderr
task kill 2q0Ax3 --dry-run
environment modify demo --exclude '**.qc' --dry-run
environment modify demo --exclude tpc
environment modify demo --include tpc
environment modify demo --exclude-node flp012
environment modify demo --include-node flp012
environment reconfigure demo rate=100
environment reconfigure demo --tasks '**.source' rate=100 burst=8
environment reconfigure demo @point.yaml --json
environment control 2q0A START
environment destroy demo --dry-run
env ctl demo stop --timeout 1min
environment events demo
environment events demo --since 1200 --kind run.start --kind run.end
env destroy 2q0A --allow-running --yes
run take demo --duration 1s
run take demo --duration 1s
run list
run list --limit 5 --json
run show 512
run show 512 --json
run diff 511 512
run diff 511 512 --json
run repeat 512
run annotate 512 "HV tripped at 14:02" --tag quality=bad
run annotate 512 --tag quality=
run export 512
run export 512 --to ~/analysis --csv
run export 512 --to - --json
operation list
operation list --limit 5 -o wide
operation list --going --json
node list
node list --json
node show flp012
node show flp012 --json
node drain flp012 --reason "new disk"
node drain flp012 --json
node undrain flp012
node undrain flp012 --json
lock take its tpc --json
lock take tpc --reason "threshold scan"
lock request tpc --json
lock take tpc --force --yes
lock list
lock list --json
lock release tpc
lock release
repository list
repository list --json
repository refresh
info
info --json
top --json
context list
context list --json
key list
key list --json
audit tail
audit tail -n 100 --json
"""
"""In this order each works; words that stand for names are replaced."""


def examples_of(group: LazyGroup) -> list[str]:
    context = click.Context(group)
    found = re.findall(r"^ +(coconut .*)$", group.help or "", re.MULTILINE)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        if isinstance(child, LazyGroup):
            found += examples_of(child)
        elif child is not None:
            found += re.findall(r"^ +(?:source <\(|.*\| )?(coconut [^)\n]*)\)?$", child.help or "", re.MULTILINE)
    return sorted(set(found))


ALL = examples_of(command)


def test_there_are_enough() -> None:
    assert len(ALL) > 150


@pytest.mark.parametrize("example", ALL)
def test_example_parses(example: str) -> None:
    words = shlex.split(example.partition(" > ")[0])[1:]
    group: click.Command = command
    parent = None
    while isinstance(group, LazyGroup):
        context = click.Context(group, parent=parent, info_name=group.name)
        _, found, words = group.resolve_command(context, words)
        assert found is not None
        group, parent = found, context

    group.make_context(group.name, words, parent=parent)


def test_examples_that_need_a_core_work_on_one(
    at_core: Coconut, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(cluster.repository)
    (repository / "workflows" / "demo.yaml").write_text(DEMO)
    worker = (repository / "tasks" / "recorder.yaml").read_text().replace("name: recorder", "name: worker")
    more = '  rate: "{{ rate }}"\n  burst: "{{ burst }}"\n'
    (repository / "tasks" / "worker.yaml").write_text(worker.replace("properties:\n", f"properties:\n{more}"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("point.yaml").write_text("rate: 5\n")
    names = {"flp012": "n2", "1200": "1"}

    for line in ORDER.strip().splitlines():
        words = shlex.split(line)
        environments = at_core("environment", "list", "--json").document["environments"]
        if environments:
            names["2q0A"] = names["2q0S"] = environments[-1]["environment"]
        if "2q0Ax3" in words:
            names["2q0Ax3"] = at_core("task", "list", "--json").document["tasks"][0]["task"]
        if "512" in words:
            numbers = [str(run["number"]) for run in at_core("run", "list", "--json").document["runs"]]
            names["511"], names["512"] = numbers[-2:]
        words = [names.get(word, word).replace("source@node1", "source@n1") for word in words]

        ran = at_core(*words)

        assert ran.status == 0, f"{line}: {ran.err}"


def test_what_is_carried_out_is_what_help_texts_say() -> None:
    told = {example.removeprefix("coconut ") for example in ALL}
    known = [line for line in ORDER.strip().splitlines() if line in told]

    assert len(known) > 0.8 * len(ORDER.strip().splitlines())
