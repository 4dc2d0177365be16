"""Git repositories, read at a commit and never checked out. The only importer of pygit2.

It is imported when a repository is first read: that takes a tenth of a second, which no daemon's start shall wait for.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Final

import attrs

from libecs.errors import EcsError, InvalidInput, NotFound
from libecs.io.repository import (
    LOCAL,
    MAX_FILE_BYTES,
    FolderRepository,
    FolderSnapshot,
    Repository,
    Snapshot,
    checked,
    unknown,
)

_SHA = re.compile(r"[0-9a-fA-F]{4,40}")
_REMOTE = re.compile(r"https://|ssh://|file://|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:")
_PATH = re.compile(r"/|\./|\.\./")
_TREE: Final = 0o040000
"""Kind of a folder in a tree of git, and those of its files that are no links."""
_FILES: Final = (0o100644, 0o100755)
_BRANCHES = ("refs/remotes/origin/", "refs/heads/")


@attrs.frozen(kw_only=True)
class GitRepository:
    """A bare repository, a mirror, or the `.git` of a work tree. For any thread: each snapshot opens it anew."""

    path: Path
    name: str

    def at(self, revision: str) -> GitSnapshot:
        """Return the files at a revision; "" = of HEAD. Raises NotFound, EcsError."""
        repository = _open(self.path)
        commit = _head(repository, self) if not revision else _resolve(repository, revision)
        if commit is None:
            raise unknown(f"revision {revision!r} in {self.name}", revision, self.revisions())
        return GitSnapshot(repository, commit)

    def revisions(self) -> tuple[str, ...]:
        """Return the branches and tags."""
        names = set()
        for reference in _open(self.path).references:
            for prefix in (*_BRANCHES, "refs/tags/"):
                if reference.startswith(prefix):
                    names.add(reference.removeprefix(prefix))
        return tuple(sorted(names - {"HEAD"}))


class GitSnapshot:
    """The files of one commit. For one thread."""

    def __init__(self, repository: Any, commit: Any) -> None:
        self._repository = repository
        self._tree = commit.tree
        self.revision = str(commit.id)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is none, or a link or a folder stands there."""
        try:
            entry = self._tree[path]
        except (KeyError, ValueError):
            return None
        if entry.filemode not in _FILES:
            return None
        if entry.size > MAX_FILE_BYTES:
            return checked(bytes(MAX_FILE_BYTES + 1), path)
        return bytes(entry.data)

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files in a folder."""
        try:
            tree = self._tree[folder]
        except KeyError:
            return ()
        if tree.filemode != _TREE:
            return ()
        return tuple(sorted(entry.name for entry in tree if entry.filemode in _FILES))


@attrs.frozen(kw_only=True)
class WorkTree:
    """A folder with a `.git`: as it is on disk, with changes that are not committed, or at a revision that is named."""

    path: Path
    name: str

    def at(self, revision: str) -> Snapshot:
        """Return the folder for "" and "local", else the files at that revision. Raises NotFound, EcsError."""
        if revision in ("", LOCAL):
            return FolderSnapshot(self.path)
        return GitRepository(path=self.path, name=self.name).at(revision)

    def revisions(self) -> tuple[str, ...]:
        """Return the branches and tags."""
        return GitRepository(path=self.path, name=self.name).revisions()


def open_repository(path: Path, *, name: str = "") -> Repository:
    """Return what is at `path`: a bare git repository, a work tree, or a plain folder.

    Raises:
        NotFound: there is none of them.
    """
    path = path.resolve()
    name = name or path.name.removesuffix(".git")
    if (path / ".git").exists():
        return WorkTree(path=path, name=name)
    if (path / "objects").is_dir() and (path / "HEAD").is_file():
        return GitRepository(path=path, name=name)
    hint = "name a folder that holds workflows/ and tasks/"
    if not path.is_dir():
        raise NotFound(f"there is no repository {path}", hint=hint)
    if not (path / "workflows").is_dir():
        raise NotFound(f"{path} holds no folder `workflows`", hint=hint)
    return FolderRepository(path=path, name=name)


def find_repository(text: str, mirrors: Path) -> Repository:
    """Return the repository that a user names: a path, or an address, which is copied to below `mirrors` first.

    Raises:
        NotFound: there is none.
        EcsError: it could not be copied.
    """
    if not _REMOTE.match(text):
        return open_repository(Path(text).expanduser())
    place = (text.partition("://")[2] or text).strip("/").removesuffix(".git")
    folder = re.sub(r"[^A-Za-z0-9._-]+", "_", place) + ".git"
    return mirror(text, mirrors / folder, name=place.rpartition("/")[2].rpartition(":")[2])


def mirrors_folder() -> Path:
    """Return where copies of remote repositories are kept: `$XDG_CACHE_HOME/ecs/repositories`."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "ecs" / "repositories"


def open_location(place: str | os.PathLike[str]) -> Repository:
    """Return the repository at a path or address. Blocks while a remote one is copied. Raises NotFound, EcsError."""
    return find_repository(os.fspath(place), mirrors_folder())


def mirror(url: str, folder: Path, *, name: str = "") -> GitRepository:
    """Make `folder` a bare mirror of a remote repository, or bring the one that is there up to date.

    Blocks for as long as the network takes. An interrupted first copy leaves nothing.

    Raises:
        InvalidInput: this is no URL for git.
        EcsError: the remote does not answer, refuses, or is no repository.
    """
    if not (_REMOTE.match(url) or _PATH.match(url)):
        raise InvalidInput(f"{url!r} is no address of a git repository", hint="https://…, ssh://…, file://… or a path")
    import pygit2
    from pygit2.enums import FetchPrune

    try:
        if not (folder / "HEAD").exists():
            temporary = folder.with_name(folder.name + ".part")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            pygit2.clone_repository(url, str(temporary), bare=True)
            temporary.rename(folder)
        repository = pygit2.Repository(str(folder))
        # Else libgit2 takes every tag as one that came along by itself, and does not move those that it has.
        repository.config["remote.origin.tagopt"] = "--no-tags"
        repository.remotes["origin"].fetch(
            refspecs=["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"], prune=FetchPrune.PRUNE
        )
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        shutil.rmtree(folder.with_name(folder.name + ".part"), ignore_errors=True)
        raise EcsError(f"{url} could not be copied: {error}", hint="see that it exists and may be read") from error
    return GitRepository(path=folder, name=name or folder.name.removesuffix(".git"))


def _open(path: Path) -> Any:
    import pygit2

    try:
        return pygit2.Repository(str(path))
    except pygit2.GitError as error:
        raise EcsError(f"{path} cannot be read as a git repository: {error}") from error


def _head(repository: Any, where: GitRepository) -> Any:
    """Return the commit of the default branch. In a mirror, that is the branch of the remote: its own is stale."""
    import pygit2

    try:
        name = repository.lookup_reference("HEAD").target
    except KeyError:
        name = ""
    if isinstance(name, str) and name.startswith("refs/heads/"):
        commit = _resolve(repository, name.removeprefix("refs/heads/"))
    else:
        commit = repository.head.peel(pygit2.Commit) if not repository.head_is_unborn else None
    if commit is None:
        raise NotFound(f"{where.name} has no default branch", hint=f"name one of: {', '.join(where.revisions())}")
    return commit


def _resolve(repository: Any, revision: str) -> Any:
    """Return the commit that a revision means, or None.

    The branch as the remote has it comes first: after a fetch into a bare repository, its own branches are old news.
    """
    import pygit2

    candidates = [f"refs/remotes/origin/{revision}", f"refs/tags/{revision}"]
    for candidate in (*candidates, None, f"refs/heads/{revision}"):
        try:
            if candidate is not None:
                return repository.lookup_reference(candidate).peel(pygit2.Commit)
            if _SHA.fullmatch(revision):
                return repository[revision].peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError):
            continue  # no such name, no legal name, an ambiguous sha, or no commit
    return None
