"""The same task for tests as obedient.c, in Python."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import occ


class Obedient(occ.Task):
    turn = 0

    def flood(self) -> None:
        """Tell more than is decent."""
        for i in range(int(self.properties.get("flood", 0))):
            self.log(f"line {i}", severity="DEBUG")
            self.metric("flood", i, unit="Hz")
        if "names" in self.properties:
            taken = [self.metric(f"name-{i}", 1) for i in range(int(self.properties["names"]))]
            self.log(f"refused {taken.count(False)}", severity="WARNING")

    def at(self, moment: str, more: str = "") -> None:
        shown = self.properties.get("show")
        with Path(os.environ["TRACE"]).open("a") as trace:
            trace.write(f"{moment}{more}{'' if shown is None else ' ' + self.properties.get(shown, '?')}\n")
        if self.properties.get("tell") == "yes":
            self.metric(moment, 1)
            self.log(f"at {moment}")
        while self.properties.get("hang") == moment and not Path(os.environ["RELEASE"]).exists():
            time.sleep(0.001)
        if self.properties.get("leave") == moment:
            sys.exit(3)
        if self.properties.get("die") == moment:
            os._exit(4)
        if self.properties.get("fail") == moment:
            raise ValueError(f"told to fail in {moment}")
        if self.properties.get("fail_silently") == moment:
            raise ValueError

    def configure(self, properties: Mapping[str, str]) -> None:
        assert properties == self.properties
        self.flood()
        self.at("configure")

    def reset(self) -> None:
        self.at("reset")

    def recover(self) -> None:
        self.at("recover")

    def start(self, run: int) -> None:
        assert run == self.run_number
        self.turn = 0
        self.at("start", f" {run}")

    def stop(self) -> None:
        self.at("stop")

    def pause(self) -> None:
        self.at("pause")

    def resume(self) -> None:
        self.at("resume")

    def exit(self) -> None:
        self.at("exit")

    def reconfigure(self, changed: Mapping[str, str]) -> None:
        assert changed.items() <= self.properties.items()
        self.at("reconfigure", " show" if "show" in changed else "")

    def iterate_running(self) -> bool | occ.EndOfStream | None:
        self.turn += 1
        if self.properties.get("tell") == "yes":
            self.metric("turns", 1, unit="turns")
        if self.turn == int(self.properties.get("end_after", 0)):
            return occ.END_OF_STREAM
        if self.turn == int(self.properties.get("break_after", 0)):
            raise RuntimeError(f"broke at turn {self.turn} \udcff")
        if self.properties.get("hang") == "running":
            self.at("running")
        return self.properties.get("busy") == "yes"

    def iterate_check(self) -> None:
        if Path(os.environ["ILL"]).exists():
            raise RuntimeError("ill")


class Rigid(Obedient):
    """One that can't take new values without RESET."""

    reconfigure = occ.Task.reconfigure


if __name__ == "__main__":
    (Rigid if "RIGID" in os.environ else Obedient)().run()
