"""Machines to type commands at: with a systemd of their own, or as a home on this one. All are on one network."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fieldkit.network import Network

from tests.units.machine import Machine

READY_S = 60.0


class Shell:
    """A bash that takes one line after the other."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], notify: Path | None) -> None:
        """`notify`: where what is started in the background says that it is ready; None = nobody is waited for."""
        self._notify = notify
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(environment),
            cwd=environment["HOME"],
            start_new_session=True,
        )

    def run(self, line: str) -> str:
        """Run a line, return what it printed. Raises AssertionError when it fails."""
        if line.endswith("&"):
            self._begin(line)
            return ""
        status, output = self._type(f"{{ {line}\n}} </dev/null")
        assert status == 0, f"{line}: status {status}\n{output}"
        return output

    def _begin(self, line: str) -> None:
        assert self._notify is not None
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._notify))
            ready.settimeout(READY_S)
            log = self._notify.with_suffix(".log")
            self._type(f"NOTIFY_SOCKET={self._notify} {line[:-1]} >>{log} 2>&1 </dev/null &")
            try:
                while b"READY=1" not in ready.recv(4096).splitlines():
                    pass
            except TimeoutError:
                raise AssertionError(f"{line}: was not ready\n{log.read_text()}") from None

    def _type(self, line: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = secrets.token_hex(8)
        self._process.stdin.write(f"{line}\nprintf '%s %s\\n' {mark} $?\n")
        self._process.stdin.flush()
        output: list[str] = []
        for printed in self._process.stdout:
            before, found, status = printed.partition(f"{mark} ")
            if found:
                return int(status), "".join([*output, before])
            output.append(printed)
        raise AssertionError(f"the shell ended at: {line}\n{''.join(output)}")

    def close(self) -> None:
        """End it, and what it has started in the background."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write("kill $(jobs -p) 2>/dev/null; wait; exit\n")
            self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def known_hosts(network: Network) -> str:
    """Return an /etc/hosts in which the hosts of a network have their names."""
    return "127.0.0.1 localhost\n" + "".join(f"{network.address(host)} {host}\n" for host in network.hosts)


def machine_shell(machine: Machine, path: str) -> Shell:
    """Return root's shell on a machine."""
    environment = {"PATH": f"{path}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "LANG": "C.UTF-8"}
    return Shell(machine.command("bash", "--norc", "--noprofile"), environment, None)


def home_shell(network: Network, host: str, home: Path, path: str, hosts: Path) -> Shell:
    """Return a shell in a home of its own, on a host of the network. Tasks may run as root there."""
    home.mkdir(parents=True, exist_ok=True)
    own = {
        name: value for name, value in os.environ.items() if not re.match("XDG_|ECS_|PIP_|NOTIFY_|VIRTUAL_ENV", name)
    }
    environment = own | {"HOME": str(home), "PATH": f"{path}:{os.environ['PATH']}", "TERM": "dumb", "ECS_USER": "root"}
    # Mounts of its own: the names of the other hosts, and a /var/lib to write to.
    for name in ("upper", "work"):
        (home / "var-lib" / name).mkdir(parents=True)
    layers = f"lowerdir=/var/lib,upperdir={home}/var-lib/upper,workdir={home}/var-lib/work"
    mounts = f"mount --bind {hosts} /etc/hosts && mount -t overlay overlay -o {layers} /var/lib"
    command = ["unshare", "-m", "--", "bash", "-c", f"{mounts} && exec bash --norc --noprofile"]
    return Shell(network.command(host, command), environment, home / "notify")
