"""The repositories that a core knows: those of its settings, and those that admins add; kept in the state.

STATE/repositories.json    what admins have changed
STATE/mirrors/             copies of those that are somewhere else
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from libecs.errors import Conflict, EcsError, InvalidInput, NotFound, quoted
from libecs.io.blocking import BlockingCalls
from libecs.io.consult.place import Place
from libecs.io.git import GitRepository, mirror, open_repository
from libecs.io.keys import write_private
from libecs.io.repository import Repositories, Repository

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ADDRESS = re.compile(r"[a-z+]+://|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:")


@attrs.frozen(kw_only=True)
class Known:
    """One repository."""

    name: str
    place: str
    """A path on the core's host, or the address of a git repository."""
    of_settings: bool = False


class KnownRepositories:
    """The repositories of a core, in `all`. What is wrong with one is a problem, and costs the others nothing."""

    def __init__(
        self, state: Path, given: Sequence[tuple[str, str]], blocking: BlockingCalls, *, revision: str = ""
    ) -> None:
        """Nothing is opened yet. `given`: (name or "", place) of the settings; the first one is the default."""
        self.all = Repositories(revision=revision)
        self.problems: dict[str, str] = {}
        """Name to what is wrong with it."""
        self._file = state / "repositories.json"
        self._mirrors = state / "mirrors"
        self._blocking = blocking
        self._known: dict[str, Known] = {}
        for name, place in given:
            name = name or _name_of(place)
            self._known[name] = Known(name=name, place=place, of_settings=True)
        self._default = next(iter(self._known), "")
        self._revision = revision
        self._load()

    async def open(self) -> None:
        """Open all of them. Copies that are there are used as they are; `refresh` brings them up to date."""
        for known in list(self._known.values()):
            try:
                self.all.add(await self._blocking.start(self._open, known, False))
            except EcsError as error:
                self.problems[known.name] = f"repository {known.name}: {error.message}"
                logger.error("repository %s: %s", known.name, error.message)
        self._use_default()

    def places(self) -> tuple[Place, ...]:
        """Return all of them, for those who ask."""
        return tuple(
            Place(
                name=known.name,
                place=known.place,
                revision=self._revision if known.name == self._default else "",
                default=known.name == self._default,
                error=self.problems.get(known.name, ""),
            )
            for known in self._known.values()
        )

    async def add(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Add one. Raises InvalidInput, Conflict, NotFound, EcsError."""
        place = arguments.get("place", "").strip()
        name = arguments.get("name", "").strip() or _name_of(place)
        if not place or not _NAME.fullmatch(name):
            raise InvalidInput(f"{quoted(name or place)} is no name and place of a repository")
        if name in self._known:
            raise Conflict(f"repository {name} is there already", hint=f"coconut repository remove {name}")
        known = Known(name=name, place=place)
        repository = await self._blocking.start(self._open, known, True)
        self._known[name] = known
        self.all.add(repository)
        if not self._default:
            self._default = name
        self._use_default()
        self._save()
        return {"name": name, "place": place, "default": name == self._default}

    async def remove(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Forget one. Environments that were made of it go on. Raises NotFound, Conflict."""
        known = self._find(arguments.get("name", ""))
        if known.of_settings:
            raise Conflict(f"repository {known.name} is one of the core's settings", hint="remove it there")
        del self._known[known.name]
        self.problems.pop(known.name, None)
        if self._default == known.name:
            self._default, self._revision = next(iter(self._known), ""), ""
        self.all.remove(known.name)
        self._use_default()
        self._save()
        return {"name": known.name}

    async def refresh(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Bring one, or all (name = ""), up to date. Raises NotFound, EcsError: what could not be refreshed."""
        name = arguments.get("name", "")
        chosen = [self._find(name)] if name else list(self._known.values())
        done: dict[str, str] = {}
        failed: dict[str, str] = {}
        for known in chosen:
            try:
                repository = await self._blocking.start(self._open, known, True)
                done[known.name] = await self._blocking.start(_head, repository)
            except EcsError as error:
                failed[known.name] = error.message
                continue
            self.all.add(repository)
            self.problems.pop(known.name, None)
        self._use_default()
        if failed:
            raise EcsError("; ".join(failed.values()), hint="what was copied before is used as it is")
        return {"refreshed": done}

    async def set_default(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Choose the one of workflows that name none, and its revision. Raises NotFound."""
        known = self._find(arguments.get("name", "") or self._default)
        revision = arguments.get("revision", "")
        repository = self.all.find(known.name)
        await self._blocking.start(lambda: repository.at(revision))
        self._default, self._revision = known.name, revision
        self._use_default()
        self._save()
        return {"name": known.name, "revision": revision}

    def _find(self, name: str) -> Known:
        known = self._known.get(name)
        if known is None:
            raise NotFound(
                f"there is no repository {quoted(name)}", hint=f"known are {', '.join(sorted(self._known)) or 'none'}"
            )
        return known

    def _open(self, known: Known, fresh: bool) -> Repository:
        """Open one, in a thread. `fresh`: ask the other side."""
        if not _ADDRESS.match(known.place):
            return open_repository(Path(known.place).expanduser(), name=known.name)
        folder = self._mirrors / f"{known.name}.git"
        if not fresh and (folder / "HEAD").is_file():
            return GitRepository(path=folder, name=known.name)
        return mirror(known.place, folder, name=known.name)

    def _use_default(self) -> None:
        self.all.set_default(self._default, self._revision)

    def _load(self) -> None:
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            for name, place in document["repositories"].items():
                if name not in self._known:
                    self._known[name] = Known(name=str(name), place=str(place))
            if document["default"] in self._known:
                self._default, self._revision = document["default"], str(document["revision"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.problems[""] = f"{self._file} cannot be read: {error}"
            logger.error("%s", self.problems[""])

    def _save(self) -> None:
        document = {
            "default": self._default,
            "revision": self._revision,
            "repositories": {one.name: one.place for one in self._known.values() if not one.of_settings},
        }
        try:
            write_private(self._file, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise EcsError(f"{self._file} cannot be written: {error.strerror}") from error


def _name_of(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")


def _head(repository: Repository) -> str:
    return repository.at("").revision
