"""A task that makes messages and sends them by all the channels that CONFIGURE gives it.

The work is done by `occ.stream.Source`; see there for the properties.
"""

from __future__ import annotations

from collections.abc import Mapping

import occ
from occ.stream import Options, Source, read_options


class SourceTask(occ.Task):
    def __init__(self, options: Options) -> None:
        self._worker = Source(options, waker=self.fileno, metric=self.metric)

    def configure(self, properties: Mapping[str, str]) -> None:
        self._worker.configure(properties)

    def start(self, run: int) -> None:
        self._worker.start(run)

    def iterate_running(self) -> occ.EndOfStream | None:
        return None if self._worker.turn() else occ.END_OF_STREAM

    def stop(self) -> None:
        self._worker.stop()

    def reconfigure(self, changed: Mapping[str, str]) -> None:
        self._worker.reconfigure(self.properties)

    def reset(self) -> None:
        self._worker.reset()

    def recover(self) -> None:
        self._worker.reset()


if __name__ == "__main__":
    SourceTask(read_options(__doc__)).run()
