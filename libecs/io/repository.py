"""Where templates are kept: repositories, what they held at a revision, and the source that expansion reads.

A repository is a git repository (`libecs.io.git`), a plain folder, or texts of a script. All of it blocks: expansion
reads it in a worker.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from libecs.errors import EcsError, InvalidInput, NotFound, UsageError
from libecs.workflow.source import Kind, TemplateSource, parse_reference

if TYPE_CHECKING:
    from libecs.language.template import WorkflowTemplate

MAX_FILE_BYTES = 8 * 1024 * 1024
LOCAL = "local"
"""Revision of what is on disk now and has no history."""


class Snapshot(Protocol):
    """The files of a repository at one revision."""

    @property
    def revision(self) -> str:
        """Commit, or "local"."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none. Raises EcsError if it can't be read."""
        ...

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files directly in a folder, sorted."""
        ...


class Repository(Protocol):
    """Templates with a history, or without."""

    @property
    def name(self) -> str:
        """As people know it."""
        ...

    def at(self, revision: str) -> Snapshot:
        """Return its files at a branch, tag or commit; "" = at its default.

        Raises:
            NotFound: there is no such revision.
        """
        ...

    def revisions(self) -> tuple[str, ...]:
        """Return the branches and tags, sorted; () if there is no history."""
        ...


@attrs.frozen(kw_only=True)
class FolderRepository:
    """A plain folder: always as it is on disk now."""

    path: Path
    name: str

    def at(self, revision: str) -> FolderSnapshot:
        """Return the folder. Raises NotFound for any revision but "" and "local"."""
        if revision not in ("", LOCAL):
            raise NotFound(f"{self.path} is a plain folder: it has no revision {revision!r}", hint="leave it out")
        return FolderSnapshot(self.path)

    def revisions(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()


@attrs.frozen
class FolderSnapshot:
    """What a plain folder holds now."""

    path: Path
    revision: str = LOCAL

    def read(self, path: str) -> bytes | None:
        """Return the content of a file.

        Raises:
            InvalidInput: it is a link to somewhere else: who writes templates may not be who may read that.
            EcsError: it can't be read.
        """
        try:
            real = os.path.realpath(self.path / path, strict=True)
            if not Path(real).is_relative_to(os.path.realpath(self.path)):
                raise InvalidInput(
                    f"{path} is a link that leads out of the repository {self.path}",
                    hint="put the file itself there, or make its folder another repository",
                )
            with open(real, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            return None
        except OSError as error:
            raise EcsError(f"{self.path / path} cannot be read: {error.strerror}") from error
        return checked(data, path)

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files in a folder."""
        try:
            return tuple(sorted(entry.name for entry in (self.path / folder).iterdir() if entry.is_file()))
        except (FileNotFoundError, NotADirectoryError):
            return ()


@attrs.frozen(kw_only=True)
class TextRepository:
    """Templates that a script made. It is its own snapshot."""

    name: str
    files: Mapping[str, str]
    revision: str = LOCAL

    def at(self, revision: str) -> TextRepository:
        """Return itself. Raises NotFound for any revision but "" and "local"."""
        if revision not in ("", LOCAL):
            raise NotFound(f"{self.name} was made by a script: it has no revision {revision!r}", hint="leave it out")
        return self

    def revisions(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def read(self, path: str) -> bytes | None:
        """Return the content of a file."""
        text = self.files.get(path)
        return None if text is None else text.encode()

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files in a folder."""
        prefix = f"{folder}/"
        return tuple(sorted(path.removeprefix(prefix) for path in self.files if path.startswith(prefix)))


Find: TypeAlias = Callable[[str], Repository]
"""Gives the repository of a name. Raises NotFound."""


class RepositorySource:
    """Templates of one repository at one revision, and of others that they name. For one thread."""

    def __init__(self, repository: Repository, revision: str, find: Find) -> None:
        """Raises NotFound if there is no such revision."""
        self._first = repository
        self._find = find
        self._snapshot = repository.at(revision)
        self._others: dict[str, tuple[str, Snapshot]] = {}

    @property
    def repository(self) -> str:
        """Name of the repository."""
        return self._first.name

    @property
    def revision(self) -> str:
        """Commit, or "local"."""
        return self._snapshot.revision

    def workflow(self, name: str, base: str) -> tuple[str, str]:
        """Return a workflow template and its file name. Raises NotFound."""
        return self._read("workflows", name, base)

    def task(self, name: str, base: str) -> tuple[str, str]:
        """Return a task template and its file name. Raises NotFound."""
        return self._read("tasks", name, base)

    def command(self, name: str, base: str) -> str | None:
        """Return the text of `jit/<name>`, None if there is none. Raises NotFound for an unknown repository."""
        if "/" in name or name in ("", ".", ".."):
            return None
        data = self._place(base)[1].read(f"jit/{name}")
        return None if data is None else data.decode("utf-8", "replace")

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of all templates of a kind."""
        return _names(self._snapshot, kind)

    def _read(self, kind: Kind, name: str, base: str) -> tuple[str, str]:
        label, snapshot = self._place(base)
        path = f"{kind}/{name}.yaml"
        data = snapshot.read(path)
        if data is None:
            place = label or self._first.name
            raise unknown(f"{path} in {place}", name, _names(snapshot, kind))
        try:
            return data.decode(), f"{label}:{path}" if label else path
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path} is no UTF-8 text: byte {error.start} is wrong") from None

    def _place(self, base: str) -> tuple[str, Snapshot]:
        if not base:
            return "", self._snapshot
        if base not in self._others:
            name, _, revision = base.partition("@")
            repository = self._find(name) if name else self._first
            self._others[base] = base, repository.at(revision)
        return self._others[base]


@attrs.frozen(kw_only=True)
class Listed:
    """A workflow template in a list: what it says, or why it can't be read."""

    name: str
    template: WorkflowTemplate | None = None
    error: EcsError | None = None


def list_workflows(source: RepositorySource, *, public_only: bool = True) -> tuple[Listed, ...]:
    """Return the workflow templates of a source; those that can't be read are in it with their errors."""
    from libecs.language.template import read_workflow

    found = []
    for name in source.names("workflows"):
        try:
            template = read_workflow(*source.workflow(name, ""), name=name)
        except EcsError as error:
            found.append(Listed(name=name, error=error))
            continue
        if template.public or not public_only:
            found.append(Listed(name=name, template=template))
    return tuple(found)


class Repositories:
    """All repositories that a core knows: the default one, others by name, and what scripts add."""

    def __init__(
        self, default: Repository | None = None, others: Iterable[Repository] = (), *, revision: str = ""
    ) -> None:
        """Without a default, workflows must name their repository. `revision` is that of the default one."""
        self._default = default
        self._revision = revision
        self._by_name = {repository.name: repository for repository in others}
        if default is not None:
            self._by_name[default.name] = default

    @property
    def default(self) -> Repository | None:
        """The repository of workflows that name none."""
        return self._default

    def all(self) -> tuple[Repository, ...]:
        """Return every repository."""
        return tuple(self._by_name.values())

    def add(self, repository: Repository) -> None:
        """Add one, or replace the one of its name."""
        self._by_name = {**self._by_name, repository.name: repository}

    def remove(self, name: str) -> None:
        """Forget the one of a name; harmless if there is none."""
        self._by_name = {known: one for known, one in self._by_name.items() if known != name}
        if self._default is not None and self._default.name == name:
            self._default, self._revision = None, ""

    def set_default(self, name: str, revision: str = "") -> None:
        """Choose the one of workflows that name none, and its revision; a name that is not known leaves none."""
        self._default, self._revision = self._by_name.get(name), revision

    def find(self, name: str) -> Repository:
        """Return the repository of a name. Raises NotFound."""
        found = self._by_name.get(name)
        if found is None:
            raise unknown(f"repository {name}", name, tuple(self._by_name))
        return found

    def is_own(self, workflow: str) -> bool:
        """Return whether a workflow was made by a script of this process. False for what can't be opened."""
        try:
            name = parse_reference(workflow, "workflows", "").base.partition("@")[0]
        except InvalidInput:
            return False
        return isinstance(self._by_name.get(name) if name else self._default, TextRepository)

    def open(self, workflow: str) -> tuple[RepositorySource, str]:
        """Return the source that `[repository/workflows/]name[@revision]` means, and the bare name in it.

        Raises:
            NotFound: no such repository or revision.
            InvalidInput: it is no such expression.
            UsageError: it names no repository, and there is no default.
        """
        reference = parse_reference(workflow, "workflows", "")
        name, _, revision = reference.base.partition("@")
        repository = self.find(name) if name else self._default
        if repository is None:
            raise UsageError(
                f"workflow {workflow!r} names no repository",
                hint="say where workflows are: libecs.local(repo=…), or --repo",
            )
        if not revision and repository is self._default:
            revision = self._revision
        return RepositorySource(repository, revision, self.find), reference.name


class OverlaidTasks:
    """A source whose task templates get `command`, `user` and `wants` from a folder, where it has a file of their name.

    All else of a template stays: mode, channels, properties, constraints. So a real workflow runs with other programs.
    """

    def __init__(self, source: TemplateSource, folder: Path) -> None:
        """`folder` holds NAME.yaml, or tasks/NAME.yaml."""
        self._source = source
        self._folder = FolderSnapshot(folder)

    @property
    def repository(self) -> str:
        """Name of the repository."""
        return self._source.repository

    @property
    def revision(self) -> str:
        """Commit, or "local"."""
        return self._source.revision

    def workflow(self, name: str, base: str) -> tuple[str, str]:
        """Return a workflow template as it is."""
        return self._source.workflow(name, base)

    def command(self, name: str, base: str) -> str | None:
        """Return the text of `jit/<name>` as it is."""
        return self._source.command(name, base)

    def task(self, name: str, base: str) -> tuple[str, str]:
        """Return a task template with what the folder says."""
        from libecs.io.overlay import overlay

        text, file = self._source.task(name, base)
        for path in (f"{name}.yaml", f"tasks/{name}.yaml"):
            data = self._folder.read(path)
            if data is not None:
                place = str(self._folder.path / path)
                return overlay(text, file, data.decode("utf-8", "replace"), place), file
        return text, file


def _names(snapshot: Snapshot, kind: Kind) -> tuple[str, ...]:
    return tuple(name.removesuffix(".yaml") for name in snapshot.list(kind) if name.endswith(".yaml"))


def unknown(what: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that does not exist: what is like it, and what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return NotFound(f"there is no {what}", hint=f"did you mean {' or '.join(close)}?")
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return NotFound(f"there is no {what}", hint=f"there are: {shown or 'none'}")


def checked(data: bytes, path: str) -> bytes:
    """Return the content of a file if it is not too long.

    Raises:
        InvalidInput: it is.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} is longer than {MAX_FILE_BYTES // 1024 // 1024} MiB")
    return data
