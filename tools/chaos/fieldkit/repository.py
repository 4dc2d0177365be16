"""Workflows of recording tasks."""

from __future__ import annotations

from pathlib import Path

_FIELD = """
name: field
# Recording tasks on each node. A host stands for a detector of the same name, when `locks` is true.
defaults:
  hosts: '["n1", "n2"]'
  each: "2"
  value: "1"
  extra: ""
  spare: "false"
  on_exit: ""
roles:
  - name: "{{ it }}"
    for: {range: "{{ hosts }}", var: it}
    constraints: [{attribute: machine_id, value: "{{ it }}"}]
    roles:
      - name: "r{{ n }}"
        for: {begin: 1, end: "{{ each }}", var: n}
        bind: [{name: data, type: push, addressing: ipc, transport: zeromq}]
        task: {load: recorder}
      - name: spare
        enabled: "{{ spare }}"
        task: {load: recorder, critical: false}
"""

_DETECTORS = """
name: detectors
# Four detectors on two nodes, two recording tasks each, and a collector that stays.
defaults:
  detectors: '["its", "tpc", "trd", "tof"]'
  value: "1"
roles:
  - name: readout
    constraints: [{attribute: machine_id, value: n1}]
    vars: {detector: ""}
    task: {load: recorder}
  - name: "{{ det }}"
    for: {range: "{{ detectors }}", var: det}
    vars: {detector: "{{ det }}"}
    roles:
      - name: "{{ host }}"
        for: {range: '["n1", "n2"]', var: host}
        constraints: [{attribute: machine_id, value: "{{ host }}"}]
        bind: [{name: out, type: push, addressing: ipc, transport: zeromq}]
        task: {load: recorder}
"""

_SINGLE = """
name: single
# One recording task on one node. What may go wrong is ordered by variables.
defaults:
  host: n1
  value: "1"
  fault: ""
  moment: ""
  slow_ms: "0"
  count: "0"
  class: faulty
  fork: "0"
roles:
  - name: one
    constraints: [{attribute: machine_id, value: "{{ host }}"}]
    task: {load: "{{ class }}"}
"""

_CHAIN = """
name: chain
# A source on n1 and a sink on n2 in C, connected by TCP.
defaults:
  rate: "100"
  payload: "64"
  report_dir: ""
roles:
  - name: sink
    constraints: [{attribute: machine_id, value: n2}]
    bind: [{name: in, type: pull, addressing: tcp, transport: zeromq, global: sink}]
    task: {load: sink-c}
  - name: source
    constraints: [{attribute: machine_id, value: n1}]
    connect: [{name: out, type: push, transport: zeromq, target: "::sink"}]
    task: {load: source-c}
"""

_RECORDER = """
name: {name}
control: {{mode: direct}}
wants: {{cpu: 0.001, memory: 1}}
{more}
properties:
{properties}
command: {{value: {program}, stderr: all}}
"""

_FAULTS = """
  value: "{{ value }}"
  fork: "{{ fork }}"
  count: "{{ count }}"
  slow_ms: "{{ slow_ms }}"
  slow: "{{ fault == 'slow' ? moment : '' }}"
  hang: "{{ fault == 'hang' ? moment : '' }}"
  fail: "{{ fault == 'fail' ? moment : '' }}"
  crash: "{{ fault == 'crash' ? moment : '' }}"
""".strip("\n")


def write_repository(folder: Path, recorder: Path, *, examples: Path | None = None) -> Path:
    """Write a repository with workflows `field`, `detectors`, `single`, and `chain` if there are C examples."""
    (folder / "workflows").mkdir(parents=True)
    (folder / "tasks").mkdir()
    workflows = {"field": _FIELD, "detectors": _DETECTORS, "single": _SINGLE}
    tasks = {
        "recorder": _RECORDER.format(
            name="recorder",
            program=recorder,
            more="reconfigure: live",
            # Hundreds of them shall leave the machine to whom is measured.
            properties='  value: "{{ value }}"\n  role_path: "{{ task_parent_role }}"\n  turn_ms: "1000"',
        ),
    }
    hasty = "timeouts: {CONFIGURE: 1s, START: 1s, STOP: 1s, RESET: 1s}"
    for name, more in (("faulty", "reconfigure: live"), ("hasty", hasty)):
        tasks[name] = _RECORDER.format(name=name, program=recorder, more=more, properties=_FAULTS)
    if examples is not None:
        workflows["chain"] = _CHAIN
        for name in ("source", "sink"):
            tasks[f"{name}-c"] = _RECORDER.format(
                name=f"{name}-c",
                program=examples / "bin" / name,
                more="",
                properties='  rate: "{{ rate }}"\n  payload: "{{ payload }}"\n  report_dir: "{{ report_dir }}"'
                if name == "source"
                else '  report_dir: "{{ report_dir }}"',
            )
    for kind, texts in (("workflows", workflows), ("tasks", tasks)):
        for name, text in texts.items():
            (folder / kind / f"{name}.yaml").write_text(text.lstrip())
    return folder
