"""A stand-in for readout, stfbuilder, stfsender and the like: a source, a filter or a sink, in either state machine.

    fairmq_device.py --role filter                   behaves as a FairMQ device
    fairmq_device.py --role source --machine direct  behaves as an OCC task

Options that it does not know (--id, -P, --color, --control-port, ...) are ignored, as launchers add them for FairMQ.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

import occ
from occ.fairmq_device import FairMQDevice
from occ.stream import ROLES, Options, Worker


class StandInDevice(FairMQDevice):
    def __init__(self, role: type[Worker], options: Options) -> None:
        super().__init__()
        self._worker = role(options, waker=self.fileno, metric=self.metric)
        self._has_more = True

    def init(self) -> None:
        # Channels are opened here; BINDING and CONNECTING are passed through, as controllers expect.
        self._worker.configure(self.properties)

    def bind(self) -> None:
        self._worker.fault("bind")

    def connect(self) -> None:
        self._worker.fault("connect")

    def init_task(self) -> None:
        self._worker.fault("init_task")

    def pre_run(self) -> None:
        self._has_more = True
        self._worker.start(self.run_number)

    def conditional_run(self) -> bool | None:
        if self._has_more and not self._worker.turn():
            self._has_more = False
            self.end_of_stream()
        return True if self._has_more else None

    def post_run(self) -> None:
        self._worker.stop()

    def reset_task(self) -> None:
        self._worker.fault("reset_task")

    def reset_device(self) -> None:
        self._worker.reset()


class StandInTask(occ.Task):
    def __init__(self, role: type[Worker], options: Options) -> None:
        self._worker = role(options, waker=self.fileno, metric=self.metric)

    def configure(self, properties: Mapping[str, str]) -> None:
        self._worker.configure(properties)

    def start(self, run: int) -> None:
        self._worker.start(run)

    def iterate_running(self) -> occ.EndOfStream | None:
        return None if self._worker.turn() else occ.END_OF_STREAM

    def stop(self) -> None:
        self._worker.stop()

    def reset(self) -> None:
        self._worker.reset()

    def recover(self) -> None:
        self._worker.reset()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--role", choices=sorted(ROLES), required=True)
    parser.add_argument("--machine", choices=("fairmq", "direct"), default="fairmq")
    parser.add_argument("--control-port", help="where to be controlled, unless OCC_CONTROL_ENDPOINT says so")
    Options.add_arguments(parser)
    told, _ = parser.parse_known_args()
    options = Options.of(told)
    endpoint = os.environ.get("OCC_CONTROL_ENDPOINT")
    if not endpoint and told.control_port:
        endpoint = f"tcp://127.0.0.1:{told.control_port}"
    if told.machine == "direct":
        StandInTask(ROLES[told.role], options).run(endpoint)
        return 0
    return StandInDevice(ROLES[told.role], options).run(endpoint)


if __name__ == "__main__":
    sys.exit(main())
