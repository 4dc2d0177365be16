"""Findings in small templates, for tests."""

from __future__ import annotations

import re

from libecs.language import lint
from libecs.language.fields import Finding
from libecs.language.functions import pure_functions
from libecs.language.task import read_task
from libecs.language.template import read_workflow

TASKS = {
    "readout": "name: readout\ncommand: {value: x}\nbind: [{name: data, type: push}]\n",
    "stfb": "name: stfb\ncommand: {value: x}\nconnect: [{name: readout, type: pull}]\n",
    "basic": "name: basic\ncontrol: {mode: basic}\ncommand: {value: x}\nbind: [{name: data, type: push}]\n",
    "hook": "name: hook\ncontrol: {mode: hook}\ncommand: {value: x}\n",
}
ALL = tuple(TASKS.values())


def findings(*texts: str, is_complete: bool = True) -> list[Finding]:
    """Lint workflow and task templates, told from each other by `roles`."""
    workflows = [
        read_workflow(text, f"{name_of(text)}.yaml") for text in texts if re.search(r"^roles:|, roles:", text, re.M)
    ]
    tasks = [read_task(text, "t.yaml") for text in texts if re.search(r"^command:|^control:", text, re.M)]
    assert len(workflows) + len(tasks) == len(texts)
    return list(lint.check(workflows, tasks, functions=set(pure_functions(str)), is_complete=is_complete))


def name_of(text: str) -> str:
    found = re.search(r"name: *(\w+)", text)
    assert found
    return found[1]


def told(*texts: str, is_complete: bool = True) -> list[str]:
    return [f"{one.severity.name} {one.code} {one}" for one in findings(*texts, is_complete=is_complete)]


def of(code: str, *texts: str, is_complete: bool = True) -> list[str]:
    return [f"{one.severity.name} {one}" for one in findings(*texts, is_complete=is_complete) if one.code == code]


def roles(*lines: str) -> str:
    return "name: w\nroles:\n" + "".join(f"  - {line}\n" for line in lines)
