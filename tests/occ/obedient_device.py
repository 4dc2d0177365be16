"""A FairMQ device for tests: it does what its properties say, and writes a line into $TRACE at each call."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from occ.fairmq_device import FairMQDevice


class ObedientDevice(FairMQDevice):
    turn = 0

    def flood(self) -> None:
        """Tell more than is decent."""
        for i in range(int(self.properties.get("flood", 0))):
            self.log(f"line {i}", severity="DEBUG")
            self.metric("flood", i, unit="Hz")
        if "names" in self.properties:
            taken = [self.metric(f"name-{i}", 1) for i in range(int(self.properties["names"]))]
            self.log(f"refused {taken.count(False)}", severity="WARNING")

    def at(self, moment: str) -> None:
        with Path(os.environ["TRACE"]).open("a") as trace:
            trace.write(f"{moment} {self.state.name}\n")
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

    def init(self) -> None:
        self.flood()
        self.at("init")

    def bind(self) -> None:
        self.at("bind")

    def connect(self) -> None:
        self.at("connect")

    def init_task(self) -> None:
        self.at("init_task")

    def pre_run(self) -> None:
        self.turn = 0
        self.at("pre_run")

    def conditional_run(self) -> bool | None:
        self.turn += 1
        if self.properties.get("tell") == "yes":
            self.metric("turns", 1, unit="turns")
        if self.turn == int(self.properties.get("end_after", 0)):
            self.end_of_stream()
        if self.turn == int(self.properties.get("break_after", 0)):
            raise RuntimeError(f"broke at turn {self.turn}")
        if self.turn == int(self.properties.get("leave_after", 0)):
            return False
        return True if self.properties.get("busy") == "yes" else None

    def post_run(self) -> None:
        self.at("post_run")

    def reset_task(self) -> None:
        self.at("reset_task")

    def reset_device(self) -> None:
        self.at("reset_device")


if __name__ == "__main__":
    sys.exit(ObedientDevice().run())
