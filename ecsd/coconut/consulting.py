"""Questions about templates and plans: asked of a core, or answered in this process from a folder or an address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from libecs.errors import UsageError

if TYPE_CHECKING:
    from ecsd.coconut.options import Inputs
    from libecs.io.consult.consultant import Consultant


@attrs.frozen(kw_only=True)
class Source:
    """Where templates are looked for."""

    repo: str = ""
    repository: str = ""
    revision: str = ""
    local: bool = False
    context: str | None = None
    kv: Path | None = None

    @property
    def here(self) -> bool:
        """Whether this process answers: a place is named, or the folder is a repository and no core is named."""
        if self.repo or self.local:
            return True
        return not (self.context or self.repository) and Path("workflows").is_dir()

    def workflow(self, name: str) -> str:
        """Return the expression that names a workflow there."""
        if self.here:
            return name
        if self.repository and "/" not in name:
            name = f"{self.repository}/workflows/{name}"
        return f"{name}@{self.revision}" if self.revision and "@" not in name else name

    def answer(self, subject: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Return the document. Raises EcsError."""
        if self.here:
            if self.repository:
                raise UsageError(
                    f"--repository {self.repository} names one of a core's repositories, and no core is asked here",
                    hint="leave out --repo and --local, or name the place with --repo",
                )
            return self._consultant().document(subject, arguments)
        from ecsd.coconut.target import Target

        return Target(context=self.context).ask(subject, arguments)

    def _consultant(self) -> Consultant:
        from ecsd.coconut.options import Inputs, chosen_repository

        return local_consultant(
            Inputs(
                repo=chosen_repository(self.repo),
                revision=self.revision,
                variables={},
                nodes="",
                tasks=None,
                kv=self.kv,
                integrations=None,
            )
        )


def local_consultant(inputs: Inputs) -> Consultant:
    """Return who answers from files. Raises NotFound, InvalidInput."""
    from ecsd.installation import defaults
    from libecs.config.tree import Tree
    from libecs.io.consult.consultant import Consultant
    from libecs.io.git import open_location
    from libecs.io.integrations_file import functions_of_file
    from libecs.io.kv_file import read_kv_file
    from libecs.io.repository import Repositories
    from libecs.io.testplugin import TestPlugin

    tree = Tree() if inputs.kv is None else read_kv_file(inputs.kv)
    own = [] if inputs.integrations is None else [functions_of_file(inputs.integrations)]
    return Consultant(
        Repositories(open_location(inputs.repo), revision=inputs.revision),
        tree=lambda: tree,
        functions=[*own, TestPlugin().functions()],
        defaults=defaults(),
        tasks=inputs.tasks,
    )
