"""A task that passes messages on, from all its inputs to all its outputs.

The work is done by `occ.stream.Filter`; see there for the properties.
"""

from __future__ import annotations

from collections.abc import Mapping

import occ
from occ.stream import Filter, Options, read_options


class FilterTask(occ.Task):
    def __init__(self, options: Options) -> None:
        self._worker = Filter(options, waker=self.fileno, metric=self.metric)

    def configure(self, properties: Mapping[str, str]) -> None:
        self._worker.configure(properties)

    def start(self, run: int) -> None:
        self._worker.start(run)

    def iterate_running(self) -> None:
        self._worker.turn()

    def stop(self) -> None:
        self._worker.stop()

    def reset(self) -> None:
        self._worker.reset()

    def recover(self) -> None:
        self._worker.reset()


if __name__ == "__main__":
    FilterTask(read_options(__doc__)).run()
