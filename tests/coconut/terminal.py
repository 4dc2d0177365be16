"""A pseudo terminal of 80 by 24 with coconut in it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])[0-9;]*m")

SHAPING = ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables that say how a terminal is; those of whoever runs the tests mean another one."""


class Terminal:
    """Runs coconut, types, and remembers all that it writes."""

    def __init__(self, words: list[str], variables: Mapping[str, str], *, columns: int = 80, rows: int = 24) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ecsd.coconut.main", *words],
            env={name: value for name, value in variables.items() if name not in SHAPING} | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        self.raw = ""
        self._seen = 0
        # What is read at once may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def text(self) -> str:
        """What was written since the last `mark`, without escape sequences."""
        return ESCAPE.sub("", self.raw[self._seen :])

    @property
    def screen(self) -> list[str]:
        """Lines of the last picture that was drawn from the top and is whole: the next one has begun."""
        frames = self.raw.split("\x1b[H")
        frame = frames[-2] if len(frames) > 2 else ""
        return [line.rstrip() for line in ESCAPE.sub("", frame).replace("\r", "").split("\n")]

    def mark(self) -> None:
        """Forget what was written so far."""
        self._seen = len(self.raw)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait_for(self, words: str, timeout_s: float = 60.0) -> None:
        """Read until these words were written since the last `mark`."""
        end = time.monotonic() + timeout_s
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} did not come; there was:\n{self.text[-3000:]}"
            self._read(0.1)

    def wait_for_screen(self, words: str, timeout_s: float = 60.0) -> list[str]:
        """Read until these words stand on the screen, which is drawn again and again; return it."""
        end = time.monotonic() + timeout_s
        while not any(words in line for line in self.screen):
            assert time.monotonic() < end, f"{words!r} did not come; there was:\n{self.screen}"
            self._read(0.1)
        return self.screen

    def end(self, timeout_s: float = 60.0) -> int:
        """Read until it has ended; return the exit status."""
        end = time.monotonic() + timeout_s
        while self._process.poll() is None:
            assert time.monotonic() < end, f"it goes on:\n{self.text[-3000:]}"
            self._read(0.1)
        self._read(0.0)
        return self._process.returncode

    @property
    def left_as_it_was(self) -> bool:
        """Whether the terminal is in the mode that it was in."""
        return termios.tcgetattr(self._slave) == self.before

    def _read(self, timeout_s: float) -> None:
        while select.select([self._master], [], [], timeout_s)[0]:
            self.raw += self._decoder.decode(os.read(self._master, 65536))
            timeout_s = 0.0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._slave)
        os.close(self._master)
