"""Where templates come from: references to them, and what expansion needs of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import attrs

from libecs.errors import InvalidInput, NotFound

Kind: TypeAlias = Literal["workflows", "tasks"]


@attrs.frozen
class Reference:
    """Name of a template and where to look for it."""

    name: str
    """Without ".yaml"."""
    base: str
    """"" = the repository and revision that expansion began with; else "repository@revision", one of them maybe empty:
    "@revision" is another revision of the first repository, "repository" another one at its default revision."""

    @property
    def key(self) -> str:
        """A text that is unique for this template: the bare name where that is enough."""
        return f"{self.base}:{self.name}" if self.base else self.name


class TemplateSource(Protocol):
    """A repository of templates at one revision, with the others that it may include from."""

    @property
    def repository(self) -> str:
        """Its name, for records and messages."""
        ...

    @property
    def revision(self) -> str:
        """Commit, or "local" for a plain folder."""
        ...

    def workflow(self, name: str, base: str) -> tuple[str, str]:
        """Return text and file name (for messages) of `workflows/<name>.yaml` in `base`, as `Reference` explains it.

        Raises:
            NotFound: there is none.
            Missing: it has to be fetched first.
        """
        ...

    def task(self, name: str, base: str) -> tuple[str, str]:
        """Return text and file name of `tasks/<name>.yaml`. Raises as `workflow`."""
        ...

    def command(self, name: str, base: str) -> str | None:
        """Return the text of `jit/<name>`, a command that generates a workflow; None if there is none.

        Raises:
            NotFound: there is no such repository.
            Missing: it has to be fetched first.
        """
        ...


def parse_reference(text: str, kind: Kind, base: str) -> Reference:
    """Read what `include` or `load` says in a template of `base`.

    A bare name is looked up in `base`; "name@revision" in another revision of the same repository;
    "repository/workflows/name[@revision]" in another repository.

    Raises:
        InvalidInput: it is no such reference.
    """
    whole = text.strip()
    place, at, revision = whole.partition("@")
    repository, slash, name = place.rpartition(f"/{kind}/")
    if not slash:
        repository, name = base.partition("@")[0], place
    name = name.removesuffix(".yaml")
    if not name or "/" in name or "@" in revision or (at and not revision):
        example = f"a name, name@revision or host/user/repository/{kind}/name@revision"
        raise InvalidInput(f"{text!r} names no template", hint=f"write {example}")
    if not at and not slash:
        return Reference(name, base)
    return Reference(name, f"{repository}@{revision}" if at else repository)


@attrs.frozen(kw_only=True)
class TextSource:
    """Templates held as texts: a folder that was read, a bundle of a script, or a test."""

    files: Mapping[str, str]
    """ "workflows/x.yaml" and "tasks/y.yaml" to contents."""
    repository: str = ""
    revision: str = "local"
    others: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    """Other bases to their files."""

    def workflow(self, name: str, base: str) -> tuple[str, str]:
        """Return a workflow template."""
        return self._find("workflows", name, base)

    def task(self, name: str, base: str) -> tuple[str, str]:
        """Return a task template."""
        return self._find("tasks", name, base)

    def command(self, name: str, base: str) -> str | None:
        """Return a command that generates a workflow."""
        return self._files(base).get(f"jit/{name}")

    def _files(self, base: str) -> Mapping[str, str]:
        files = self.others.get(base) if base else self.files
        if files is None:
            raise NotFound(f"there is no repository {base!r}")
        return files

    def _find(self, kind: Kind, name: str, base: str) -> tuple[str, str]:
        files = self._files(base)
        file = f"{kind}/{name}.yaml"
        text = files.get(file)
        if text is None:
            prefix = f"{kind}/"
            known = sorted(path.removeprefix(prefix).removesuffix(".yaml") for path in files if path.startswith(prefix))
            raise NotFound(f"there is no {file}", hint=f"there are: {', '.join(known) or 'none'}")
        return text, f"{base}:{file}" if base else file
