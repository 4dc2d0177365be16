"""A network of its own: one name space per host, all on one bridge, whose links can be cut.

    network = Network(["head", "n1", "n2", "client"])
    with network:
        Popen(network.command("n1", ["ecs-executord", …]))
        network.cut("n1"); network.heal("n1")

Needs root and the right to make network name spaces: ask `Network.problem()` first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

_CLONE_NEWNET = 0x40000000
_SWITCH = "sw"
_FOLDER = Path("/run/netns")


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Network:
    """Hosts on one bridge. Addresses are 10.7.0.1, 10.7.0.2, … in the order of the names."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self._prefix = f"ecs{secrets.token_hex(3)}"
        self._made: list[str] = []
        self._down: set[str] = set()

    @staticmethod
    def problem() -> str:
        """Return why there can be no name spaces here, "" if there can."""
        if os.geteuid() != 0:
            return "network name spaces need root"
        for program in ("ip", "nsenter", "nft"):
            if shutil.which(program) is None:
                return f"the program {program} is not installed"
        name = f"ecs{secrets.token_hex(3)}-try"
        try:
            _run("ip", "netns", "add", name)
        except RuntimeError as error:
            return f"network name spaces are forbidden here: {error}"
        _run("ip", "netns", "del", name)
        return ""

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return f"10.7.0.{self.hosts.index(host) + 1}"

    def space(self, host: str) -> str:
        """Return the name of a host's name space."""
        return f"{self._prefix}-{host}"

    def path(self, host: str) -> Path:
        """Return the file that stands for a host's name space."""
        return _FOLDER / self.space(host)

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """Return the command that runs a command on a host; it becomes that command, with the same pid."""
        return ["nsenter", f"--net={self.path(host)}", "--", *words]

    def run(self, host: str, *words: str) -> str:
        """Run a command on a host, return its output. Raises RuntimeError."""
        return _run(*self.command(host, words))

    def make(self) -> None:
        """Make it. Raises RuntimeError; then nothing is left."""
        switch = self.space(_SWITCH)
        try:
            for host in (_SWITCH, *self.hosts):
                _run("ip", "netns", "add", self.space(host))
                self._made.append(self.space(host))
            _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", switch, "link", "set", "br0", "up")
            for host in self.hosts:
                space = self.space(host)
                ends = ("link", "add", f"v-{host}"[:15], "type", "veth", "peer", "name", "eth0", "netns", space)
                _run("ip", "-n", switch, *ends)
                _run("ip", "-n", switch, "link", "set", f"v-{host}"[:15], "master", "br0", "up")
                _run("ip", "-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
                _run("ip", "-n", space, "link", "set", "eth0", "up")
                _run("ip", "-n", space, "link", "set", "lo", "up")
        except RuntimeError:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove all of it; links go with their name spaces. Processes in them must have ended."""
        for space in reversed(self._made):
            with contextlib.suppress(RuntimeError):
                _run("ip", "netns", "del", space)
        self._made.clear()

    def __enter__(self) -> Network:
        self.make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    # faults

    def cut(self, host: str) -> None:
        """Pull the cable of a host."""
        _run("ip", "-n", self.space(_SWITCH), "link", "set", f"v-{host}"[:15], "down")
        self._down.add(host)

    def drop(self, host: str, hook: str) -> None:
        """Lose silently what a host sends (`hook` = "output") or what it gets ("input"): no RST, a half-open link."""
        _run(*self.command(host, ["nft", "add", "table", "inet", "fault"]))
        chain = "{ type filter hook " + hook + " priority 0; policy drop; }"
        _run(*self.command(host, ["nft", "add", "chain", "inet", "fault", hook, chain]))
        _run(*self.command(host, ["nft", "add", "rule", "inet", "fault", hook, "meta", "oifname", "lo", "accept"]))
        _run(*self.command(host, ["nft", "add", "rule", "inet", "fault", hook, "meta", "iifname", "lo", "accept"]))

    def heal(self, host: str) -> None:
        """Undo all faults of a host."""
        with contextlib.suppress(RuntimeError):
            _run(*self.command(host, ["nft", "delete", "table", "inet", "fault"]))
        if host in self._down:
            _run("ip", "-n", self.space(_SWITCH), "link", "set", f"v-{host}"[:15], "up")
            self._down.discard(host)

    def listening(self, host: str) -> list[str]:
        """Return the TCP sockets that listen on a host, as ADDRESS:PORT."""
        lines = self.run(host, "ss", "-Htln").splitlines()
        return sorted(line.split()[3] for line in lines)

    @contextlib.contextmanager
    def entered(self, host: str) -> Iterator[None]:
        """Be on a host: sockets that are made in here, and threads that are started in here, are there for ever.

        Only the calling thread moves; it comes back at the end.
        """
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(self.path(host), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(there)
            try:
                yield
            finally:
                _set_namespace(here)
        finally:
            os.close(here)
            os.close(there)


def _set_namespace(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
