"""The audit log: who asked for what, when, and what was decided. Each line holds the hash of the line before it.

FOLDER/                     0700
audit-000000000001.jsonl    lines of JSON, 0600; the number is that of its first line
head                        number and hash of the last line
base                        number and hash of the last line that was removed with its file, if one was

Files whose lines are all older than a time are removed, one at each start and with each new file, the last two never.
The chain begins behind `base` then, and a line of the log tells so.

A line is written and on disk before what it tells of is done. A line that was edited, removed, added or moved breaks
the chain at a place that `verify` names; lines cut off at the end are missed by `head`. Who can write the folder can
make a whole new chain: to be safe from root, note the last number and hash elsewhere (`coconut audit verify` prints
them).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from libecs.engine.effects import Audit
from libecs.errors import InvalidInput, NotFound
from libecs.io.keyfile import make_private_folder, write_private

logger = logging.getLogger(__name__)

ROTATE_BYTES = 16 * 1024 * 1024
"""A file that is larger gets no more lines."""
ROTATE_DAYS = 30.0
"""Nor does one whose first line is older, if old files are removed at all: else there might never be a second one."""
_DAY_MS = 86_400_000
MAX_TEXT = 2000
"""Characters of one field; what is longer is cut, and says so."""
GENESIS = "0" * 64
"""In place of the hash before the first line."""
_TAIL_BYTES = 512 * 1024
"""The longest line fits in."""
_HASH_FIELD = b',"hash":"'
_REMOVE = "audit.remove"
_REMOVED = f'"verb":"{_REMOVE}"'.encode()


@attrs.frozen(kw_only=True)
class Head:
    """The last line of a chain."""

    number: int = 0
    """Of the line, from 1; 0 = there is none."""
    hash: str = GENESIS


@attrs.frozen(kw_only=True)
class Verdict:
    """What `verify` found."""

    lines: int
    """How many are in order, from the first one on."""
    base: Head = Head()
    """Of the line before the first one: older files were removed, or these are only some. Number 0 = it is line 1."""
    head: Head
    """Of the last one that is in order."""
    problem: str = ""
    """What the first line that breaks is, and how; "" = all is in order."""
    file: str = ""
    line: int = 0
    """Where it breaks: in which line of the file, from 1."""


class AuditLog:
    """The writer; one per folder."""

    def __init__(self, folder: Path, *, rotate_bytes: int = ROTATE_BYTES, keep_days: float = 0.0) -> None:
        """Go on behind what is there. What is amiss at the end of it becomes a line of its own. Raises OSError.

        `keep_days`: files whose lines are all older are removed; 0 = none ever.
        """
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._keep_ms = keep_days * _DAY_MS
        self._descriptor = -1
        self._size = 0
        self._began_ms = 0
        """Of the first line of the present file; 0 = it has none."""
        make_private_folder(folder)
        self._head_descriptor = os.open(folder / "head", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        remembered = _read_head(os.pread(self._head_descriptor, 256, 0))
        written, cut = self._open_last()
        # From what is remembered, if that is not behind: what is missing then stays missing for whoever verifies.
        self._head = remembered if remembered.number >= written.number else written
        amiss = []
        if cut:
            amiss.append(f"{cut} bytes of a line that was never finished were removed")
        if remembered.number > written.number:
            amiss.append(f"lines {written.number + 1} to {remembered.number} are missing")
        elif remembered.number == written.number and remembered.hash != written.hash:
            amiss.append(f"line {written.number} is not the one that was written")
        for text in amiss:
            logger.error("audit log %s: %s", folder, text)
        if amiss:
            self._append(
                [{"verb": "audit.open", "decision": "found", "text": "; ".join(amiss)}], int(time.time() * 1000)
            )
        self._remove_oldest(int(time.time() * 1000))

    @property
    def head(self) -> Head:
        """The last line."""
        return self._head

    def write(self, lines: Sequence[Audit], unix_ms: int) -> None:
        """Write lines of one tick; they are on disk when this returns. Raises OSError: none may be acted upon."""
        if self._append([_fields(line) for line in lines], unix_ms):
            self._remove_oldest(unix_ms)

    def close(self) -> None:
        """Close its files."""
        for descriptor in (self._descriptor, self._head_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._head_descriptor = -1

    def _append(self, lines: Iterable[Mapping[str, object]], unix_ms: int) -> bool:
        """Write lines; return whether they began a new file."""
        rotated = self._descriptor < 0 or self._size >= self._rotate_bytes or self._is_old(unix_ms)
        if rotated:
            self._rotate()
        head, data = self._head, b""
        for fields in lines:
            line, head = _line(fields, head, unix_ms)
            data += line
        try:
            _write_all(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError:
            # Half a line would spoil the next one. What can't be cut off now is cut off by the next start.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)
        self._began_ms = self._began_ms or unix_ms
        self._head = head
        os.pwrite(self._head_descriptor, _head_text(head), 0)  # may lag behind after a loss of power: harmless
        return rotated

    def _is_old(self, unix_ms: int) -> bool:
        return bool(self._keep_ms and self._began_ms and unix_ms - self._began_ms > ROTATE_DAYS * _DAY_MS)

    def _remove_oldest(self, unix_ms: int) -> None:
        """Remove the oldest file if all its lines are too old. One at a time: a clock that is wrong costs no more."""
        files = chain_files(self._folder)
        if not self._keep_ms or len(files) < 3:
            return
        try:
            last = next(_backwards(files[0]), b"")
            head, document = _head_of(last), _parse(last) or {}
            told_ms = document.get("unix_ms")
            if head is None or type(told_ms) is not int or unix_ms - told_ms <= self._keep_ms:
                return
            text = f"{files[0].name} is removed: it ends with line {head.number} {head.hash}"
            self._append([{"verb": _REMOVE, "decision": "done", "text": text}], unix_ms)
            write_private(self._folder / "base", _head_text(head).decode())
            files[0].unlink()
            logger.info("audit log: %s", text)
        except OSError as error:
            logger.error("audit log %s: the oldest file stays: %s", self._folder, error)

    def _open_last(self) -> tuple[Head, int]:
        """Open the last file. Return its last line's head, and how many bytes of an unfinished line were cut off."""
        files = chain_files(self._folder)
        if not files:
            return Head(), 0
        self._descriptor = os.open(files[-1], os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        whole = tail.rfind(b"\n") + 1
        cut = len(tail) - whole
        if cut:
            os.ftruncate(self._descriptor, size - cut)
        self._size = size - cut
        first_line = (_parse(os.pread(self._descriptor, _TAIL_BYTES, 0).partition(b"\n")[0]) or {}).get("unix_ms")
        self._began_ms = first_line if type(first_line) is int else 0
        lines = tail[:whole].splitlines()
        if lines:
            return _head_of(lines[-1]) or Head(), cut
        first = int(files[-1].stem.removeprefix("audit-"))
        if first > 1 and len(files) > 1:  # rotated, and killed before its first line
            before = files[-2].read_bytes().splitlines()
            return (_head_of(before[-1]) if before else None) or Head(), cut
        return Head(), cut

    def _rotate(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        path = self._folder / f"audit-{self._head.number + 1:012d}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        self._began_ms = 0
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def chain_files(folder: Path) -> list[Path]:
    """Return the files of a chain, the oldest first."""
    return sorted(path for path in folder.glob("audit-*.jsonl") if path.stem.removeprefix("audit-").isdecimal())


def verify(folder: Path) -> Verdict:
    """Check a whole chain: all files of a folder, from line 1, or from behind `base`, to the one that `head` remembers.

    Raises:
        NotFound: there is no audit log.
        InvalidInput: it can't be read.
    """
    try:
        remembered = _read_head((folder / "head").read_bytes())
    except FileNotFoundError:
        hint = "it is in the state folder of the core, on its machine: --state DIR names another one"
        raise NotFound(f"there is no audit log in {folder}", hint=hint) from None
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read: {error.strerror}") from error
    files = chain_files(folder)
    base = _base(folder, files)
    verdict = attrs.evolve(verify_files(files, after=base), base=base)
    if verdict.problem:
        return verdict
    if base.number and not _is_told(files, base):
        text = f"lines 1 to {base.number} are missing, and no line tells that they were removed"
        return attrs.evolve(verdict, problem=text, file="base", line=1)
    if verdict.head.number < remembered.number:
        text = f"lines {verdict.head.number + 1} to {remembered.number} are missing at the end"
    elif verdict.head.number == remembered.number and verdict.head.hash != remembered.hash:
        text = f"line {remembered.number} is not the one that was written"
    elif remembered.number == 0 and verdict.lines:
        text = "what remembers the last line is damaged, so nobody knows whether lines are missing at the end"
    else:
        return verdict
    return attrs.evolve(verdict, problem=text, file="head", line=1)


def _base(folder: Path, files: Sequence[Path]) -> Head:
    """Return the head behind which a chain begins. What is removed is remembered before it is."""
    try:
        base = _read_head((folder / "base").read_bytes())
    except OSError:
        return Head()
    return base if files and int(files[0].stem.removeprefix("audit-")) == base.number + 1 else Head()


def _is_told(files: Sequence[Path], base: Head) -> bool:
    """Whether a line of the log tells that what ended so was removed."""
    for path in files:
        with path.open("rb") as file:
            if any(_REMOVED in line and base.hash.encode() in line for line in file):
                return True
    return False


def verify_files(files: Sequence[Path], *, after: Head | None = None) -> Verdict:
    """Check files that follow each other.

    Args:
        files: the oldest first.
        after: the line before the first of them; None = any, as of a file that was taken away from its folder.

    Raises:
        InvalidInput: a file can't be read.
    """
    head, count = after, 0
    for path in files:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    problem, here = _check(line, head)
                    if problem:
                        return Verdict(lines=count, head=head or Head(), problem=problem, file=path.name, line=number)
                    head, count = here, count + 1
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    return Verdict(lines=count, head=head or Head())


def tail(folder: Path, lines: int) -> list[dict[str, Any]]:
    """Return the last lines, the oldest first; one that is no JSON comes as {"text": …}."""
    found: list[dict[str, Any]] = []
    for path in reversed(chain_files(folder)):
        for line in _backwards(path):
            if len(found) >= lines:
                return found[::-1]
            found.append(_parse(line) or {"decision": "damaged", "text": line.decode("utf-8", "replace")})
    return found[::-1]


def _fields(line: Audit) -> dict[str, object]:
    principal = line.principal
    return {
        "who": principal.name or line.requester,
        "key": principal.key,
        "role": principal.role.name.lower(),
        "via": principal.via,
        "requester": line.requester,
        "verb": line.verb,
        "object": line.object,
        "operation": line.operation,
        "decision": line.decision,
        "text": line.text,
    }


def _line(fields: Mapping[str, object], head: Head, unix_ms: int) -> tuple[bytes, Head]:
    document: dict[str, object] = {"n": head.number + 1, "unix_ms": unix_ms, "mono_s": round(time.monotonic(), 6)}
    document |= {name: _short(value) if isinstance(value, str) else value for name, value in fields.items()}
    document["prev"] = head.hash
    # ASCII only: no text of anybody ends the line, or moves a cursor.
    body = json.dumps(document, separators=(",", ":")).encode("ascii")[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + _HASH_FIELD + digest.encode() + b'"}\n', Head(number=head.number + 1, hash=digest)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _check(line: bytes, before: Head | None) -> tuple[str, Head | None]:
    """Return what is wrong with a line behind `before`, or "" and its own head."""
    if not line.endswith(b"\n"):
        return "the line is cut off", None
    document = _parse(line)
    here = _head_of(line)
    if document is None or here is None:
        return "the line is none of the audit log", None
    body, _, _ = line.rpartition(_HASH_FIELD)
    if hashlib.sha256(body).hexdigest() != here.hash:
        return f"line {here.number} was edited", None
    if before is None:
        return "", here
    if here.number <= before.number:
        return f"line {here.number} comes behind line {before.number}: it was moved or copied", None
    if here.number == before.number + 2:
        return f"line {before.number + 1} is missing", None
    if here.number != before.number + 1:
        return f"lines {before.number + 1} to {here.number - 1} are missing", None
    if document.get("prev") != before.hash:
        return f"line {here.number} was written behind another line {before.number} than the one that is there", None
    return "", here


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _head_of(line: bytes) -> Head | None:
    document = _parse(line)
    if document is None:
        return None
    number, digest = document.get("n"), document.get("hash")
    if type(number) is not int or not isinstance(digest, str) or number < 1:
        return None
    return Head(number=number, hash=digest)


def _head_text(head: Head) -> bytes:
    return f"{head.number:020d} {head.hash}\n".encode()


def _read_head(data: bytes) -> Head:
    number, _, digest = data.decode("ascii", "replace").strip().partition(" ")
    if not number.isdecimal() or len(digest) != len(GENESIS):
        return Head()
    return Head(number=int(number), hash=digest)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _backwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file from its end."""
    with path.open("rb") as file:
        at, rest = file.seek(0, os.SEEK_END), b""
        while at > 0:
            step = min(_TAIL_BYTES, at)
            at -= step
            file.seek(at)
            first, *others = (file.read(step) + rest).split(b"\n")
            yield from (line for line in reversed(others) if line)
            rest = first
        if rest:
            yield rest
