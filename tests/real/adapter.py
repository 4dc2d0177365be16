"""The one place that knows how libecs is called: everything else of this folder sees JSON trees."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from libecs.config.tree import Tree
from libecs.errors import EcsError
from libecs.language.functions import pure_functions
from libecs.language.task import read_task
from libecs.language.template import read_workflow
from libecs.workflow.channels import Endpoint, resolve
from libecs.workflow.expand import expand as expand_workflow
from libecs.workflow.launch import Launcher, task_specials
from libecs.workflow.render import to_json
from libecs.workflow.role import Workflow
from libecs.workflow.source import TextSource

from .oracle import ENVIRONMENT_ID, address

FOLDERS = ("workflows", "tasks", "jit")


@cache
def texts(repo: Path) -> dict[str, str]:
    """Read a folder of templates once; tests never change one."""
    return {
        f"{folder}/{file.name}": file.read_text()
        for folder in FOLDERS
        for file in sorted((repo / folder).glob("*"))
        if file.is_file()
    }


def expand(
    repo: Path,
    workflow: str,
    variables: Mapping[str, str],
    kv: Path | Mapping[str, Any],
    integrations: Mapping[str, str],
    changed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Expand a workflow and return its tree as `coconut template expand --json` prints it.

    `kv` is the tree or a YAML file of it; its o2/runtime/aliecs/{defaults,vars} are the installation's variables.
    `changed` maps file names of the repository to other texts.

    Raises:
        EcsError: as the expander does.
    """
    return to_json(expanded_workflow(repo, workflow, variables, kv, integrations, changed or {}))


def expanded_workflow(
    repo: Path,
    workflow: str,
    variables: Mapping[str, str],
    kv: Path | Mapping[str, Any],
    integrations: Mapping[str, str],
    changed: Mapping[str, str],
) -> Workflow:
    tree = Tree.of(yaml.safe_load(kv.read_text()) if isinstance(kv, Path) else kv)
    numbers = itertools.count(1)
    return expand_workflow(
        TextSource(files={**texts(repo), **changed}),
        workflow,
        {**variables, "environment_id": ENVIRONMENT_ID},
        tree,
        ids=lambda: f"2oracleUid{next(numbers)}",
        base_vars=tree.texts("o2/runtime/aliecs/vars"),
        base_defaults=tree.texts("o2/runtime/aliecs/defaults"),
        integrations=integrations,
    )


def properties(
    repo: Path, workflow: str, variables: Mapping[str, str], kv: Mapping[str, Any], integrations: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return the channel properties that CONFIGURE would give to each controlled task, by role path."""
    expanded = expanded_workflow(repo, workflow, variables, kv, integrations, {})
    inbound = [(role.path, channel.name) for role in expanded.roles if role.task for channel in role.bind]
    endpoints = {key: Endpoint(bind=address(*key), connect=address(*key)) for key in inbound}
    launcher = Launcher(expanded, pure_functions(lambda: "2oracleLate"))
    found = {}
    for path, channels in resolve(expanded, endpoints).items():
        index, role = next((index, role) for index, role in enumerate(expanded.roles) if role.path == path)
        specials = task_specials(role, task_id="2oracleTask", host="node", environment_id=ENVIRONMENT_ID)
        told = launcher.properties(index, specials, channels=channels)
        found[path] = {name: value for name, value in told.items() if name.startswith("chans.")}
    return found


def load_all(repo: Path) -> list[str]:
    """Read every workflow and task template of a repository; return what is wrong, nothing if all is well."""
    problems = []
    for name, text in texts(repo).items():
        reader = {"workflows": read_workflow, "tasks": read_task}.get(name.partition("/")[0])
        if not reader:
            continue
        try:
            reader(text, name, name=Path(name).stem)
        except EcsError as error:
            problems.append(f"{name}: {error}")
    return problems
