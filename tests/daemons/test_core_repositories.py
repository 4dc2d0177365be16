"""The repositories that a core knows, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pygit2
import pytest

from ecsd.core.repositories import KnownRepositories
from libecs.errors import Conflict, EcsError, InvalidInput, NotFound
from libecs.io.blocking import BlockingCalls


@pytest.fixture
async def blocking(tmp_path: Path) -> AsyncIterator[BlockingCalls]:
    (tmp_path / "state").mkdir()
    blocking = BlockingCalls()
    yield blocking
    await blocking.close()


def folder(place: Path) -> Path:
    (place / "workflows").mkdir(parents=True)
    return place


def remote(place: Path) -> pygit2.Repository:
    """Return a repository that a core copies from, with one commit."""
    repository = pygit2.init_repository(str(place), bare=True, initial_head="main")
    commit(repository, "one")
    return repository


def commit(repository: pygit2.Repository, text: str) -> str:
    blob = repository.create_blob(text.encode())
    files = repository.TreeBuilder()
    files.insert("lab.yaml", blob, pygit2.enums.FileMode.BLOB)
    root = repository.TreeBuilder()
    root.insert("workflows", files.write(), pygit2.enums.FileMode.TREE)
    author = pygit2.Signature("a", "a@b")
    found = repository.references.get("refs/heads/main")
    parents = [] if found is None else [found.target]
    return str(repository.create_commit("refs/heads/main", author, author, text, root.write(), parents))


async def opened(state: Path, blocking: BlockingCalls, *given: tuple[str, str]) -> KnownRepositories:
    known = KnownRepositories(state, given, blocking)
    await known.open()
    return known


async def test_the_first_of_the_settings_is_the_default(tmp_path: Path, blocking: BlockingCalls) -> None:
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second.git")

    known = await opened(tmp_path / "state", blocking, ("", str(first)), ("", str(second)), ("x", str(first)))

    assert [(one.name, one.default) for one in known.places()] == [("first", True), ("second", False), ("x", False)]
    assert known.all.default is known.all.find("first")


async def test_one_of_the_settings_is_not_removed_here(tmp_path: Path, blocking: BlockingCalls) -> None:
    known = await opened(tmp_path / "state", blocking, ("lab", str(folder(tmp_path / "lab"))))

    with pytest.raises(Conflict, match="is one of the core's settings"):
        await known.remove({"name": "lab"})
    with pytest.raises(Conflict, match="is there already"):
        await known.add({"name": "lab", "place": str(tmp_path)})


async def test_another_default_and_its_revision_are_kept_and_must_exist(
    tmp_path: Path, blocking: BlockingCalls
) -> None:
    place = (tmp_path / "remote.git").as_uri()
    repository = remote(tmp_path / "remote.git")
    repository.references.create("refs/heads/v2", repository.revparse_single("refs/heads/main").id)
    given = ("lab", str(folder(tmp_path / "lab")))
    known = await opened(tmp_path / "state", blocking, given)
    await known.add({"place": place})

    with pytest.raises(NotFound):
        await known.set_default({"name": "remote", "revision": "v3"})
    with pytest.raises(NotFound, match="there is no repository 'none'"):
        await known.set_default({"name": "none"})
    await known.set_default({"name": "remote", "revision": "v2"})
    again = await opened(tmp_path / "state", blocking, given)

    assert [(one.name, one.default, one.revision) for one in again.places()] == [
        ("lab", False, ""),
        ("remote", True, "v2"),
    ]
    await again.remove({"name": "remote"})
    assert again.all.default is again.all.find("lab")


async def test_a_copy_is_brought_up_to_date_when_it_is_asked_for_and_used_when_its_origin_is_gone(
    tmp_path: Path, blocking: BlockingCalls
) -> None:
    origin = tmp_path / "remote.git"
    repository = remote(origin)
    known = await opened(tmp_path / "state", blocking)
    await known.add({"name": "r", "place": origin.as_uri()})
    assert [one.default for one in known.places()] == [True]  # the only one
    new = commit(repository, "two")

    assert await known.refresh({"name": "r"}) == {"refreshed": {"r": new}}
    origin.rename(tmp_path / "away")
    with pytest.raises(EcsError, match="could not be copied"):
        await known.refresh({})
    again = await opened(tmp_path / "state", blocking)

    assert again.all.find("r").at("").revision == new
    assert not again.problems


async def test_names_and_places_that_cannot_be(tmp_path: Path, blocking: BlockingCalls) -> None:
    known = await opened(tmp_path / "state", blocking)

    for arguments in ({}, {"name": "x"}, {"name": "../x", "place": str(tmp_path)}):
        with pytest.raises(InvalidInput, match="is no name and place"):
            await known.add(arguments)
    with pytest.raises(NotFound):
        await known.add({"place": str(tmp_path / "none")})
    assert known.places() == ()


async def test_a_file_that_cannot_be_read_is_a_problem_and_one_that_cannot_be_written_an_error(
    tmp_path: Path, blocking: BlockingCalls
) -> None:
    state = tmp_path / "state"
    (state / "repositories.json").write_text("[]")

    known = await opened(state, blocking, ("lab", str(folder(tmp_path / "lab"))))

    assert "repositories.json cannot be read" in known.problems[""]
    assert [one.name for one in known.places()] == ["lab"]
    (state / "repositories.json").unlink()
    state.rename(tmp_path / "gone")
    with pytest.raises(EcsError, match="cannot be written"):
        await known.add({"name": "other", "place": str(tmp_path / "lab")})
