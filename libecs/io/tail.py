"""Read what is new in one output file of a task, line by line, though its shim cuts it from time to time."""

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from libecs.engine import lines
from libecs.wire.telemetry import LogLine

READ_BYTES = 256 * 1024
"""Of what is new, at most the last so many bytes are read; the rest is passed over."""
PARTIAL_BYTES = 4096
"""A line that is longer is told before its end has come, and what follows of it is passed over."""
_HEAD = re.compile(rb"\[ecs-shim: more than \d+ bytes of output; (\d+) bytes before this line were dropped\]\n")
_HEAD_BYTES = 160
_USUAL_LINE_BYTES = 80.0


@attrs.define(kw_only=True)
class Tail:
    """A place in a file that grows. It holds no descriptor: there are many tails, and most of them are silent."""

    path: Path
    stream: str
    _offset: int = 0
    """In the file: all before is told or passed over."""
    _head: bytes = b""
    """The line that the shim has put at the beginning of the file."""
    _skipping: bool = False
    """In the middle of a line that is not to be told."""
    _line_bytes: float = _USUAL_LINE_BYTES
    """Mean of what was read: to tell how many lines were in what was not read."""

    def to_end(self) -> None:
        """Pass over all that is there now."""
        fd = _open(self.path)
        if fd is not None:
            try:
                self._follow_cut(fd)
                self._offset = os.fstat(fd).st_size
                self._skipping = self._offset > 0 and os.pread(fd, 1, self._offset - 1) != b"\n"
            finally:
                os.close(fd)

    def read(self, room: int, unix_ms: int, *, last: bool = False) -> tuple[list[LogLine], int]:
        """Return what is new, at most `room` lines of it, the newest; and how many lines were passed over.

        Args:
            room: 0 or more.
            unix_ms: when the lines are said to be written.
            last: nothing will follow: a line without an end is one too.
        """
        fd = _open(self.path)
        if fd is None:
            return [], 0
        try:
            return self._read(fd, room, unix_ms, last)
        finally:
            os.close(fd)

    def _read(self, fd: int, room: int, unix_ms: int, last: bool) -> tuple[list[LogLine], int]:
        dropped = self._follow_cut(fd)
        size = os.fstat(fd).st_size
        if size - self._offset > READ_BYTES:
            dropped += self._estimate(size - READ_BYTES - self._offset)
            self._offset = size - READ_BYTES
            self._skipping = True
        data = os.pread(fd, READ_BYTES, self._offset) if size > self._offset else b""
        begin = 0
        if self._skipping and data:
            begin = data.find(b"\n") + 1
            if begin == 0:
                self._offset += len(data)
                return [], dropped
            self._skipping = False
        end = data.rfind(b"\n") + 1
        texts = data[begin : end - 1].split(b"\n") if end > begin else []
        self._offset += max(begin, end)
        partial = data[max(begin, end) :]
        if partial and (last or len(partial) > PARTIAL_BYTES):
            texts.append(partial[:PARTIAL_BYTES])
            self._offset += len(partial)
            self._skipping = True
        if texts:
            self._line_bytes += (len(data) / len(texts) - self._line_bytes) / 8
        if (over := len(texts) - room) > 0:
            dropped += over
            texts = texts[over:]
        told = (lines.output_line(text.decode("utf-8", "replace"), self.stream, unix_ms) for text in texts)
        return [line for line in told if line is not None], dropped

    def _follow_cut(self, fd: int) -> int:
        """Find the place again after a cut. Return how many lines, by estimate, were cut off before they were read."""
        found = _HEAD.match(os.pread(fd, _HEAD_BYTES, 0))
        head = found[0] if found else b""
        if head == self._head and os.fstat(fd).st_size >= self._offset:
            return 0
        place = _cut_off(self._head) + max(0, self._offset - len(self._head))
        start = _cut_off(head)
        self._head = head
        self._offset = len(head) + max(0, place - start)
        self._skipping = self._skipping and place >= start
        size = os.fstat(fd).st_size
        if self._offset > size:  # what was written while the file was cut is lost, and the count with it
            self._offset = size
        return self._estimate(start - place) if start > place else 0

    def _estimate(self, size: int) -> int:
        return max(1, round(size / self._line_bytes))


def _cut_off(head: bytes) -> int:
    """Return how many bytes of the task's output are not in the file any more."""
    found = _HEAD.match(head)
    return int(found[1]) if found else 0


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # not there yet, or not any more
        return None
