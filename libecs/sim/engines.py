"""The real engines, made for a simulated installation."""

from __future__ import annotations

from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import Effect, Engine, Now
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.sim.node import RUNS_FOLDER
from libecs.sim.world import Records


class RealEngines:
    """Makes the engines that the daemons run."""

    def core(self, records: Records, now: Now, idempotent: frozenset[str]) -> tuple[Engine, list[Effect]]:
        """Return a core's engine and its first effects."""
        engine = CoreEngine(CoreSettings(instance="sim", idempotent_calls=idempotent, runs_folder=RUNS_FOLDER), records)
        return engine, engine.start(now)

    def executor(self, node: str, records: Records, now: Now) -> Engine:
        """Return an executor's engine."""
        settings = ExecutorSettings(
            node=node,
            instance="sim",
            host=node,
            attributes={"machine_id": node},
            cpus=64.0,
            memory_mb=64_000.0,
            ports=((9000, 9999),),
            socket_folder="/run/sim",
        )
        return ExecutorEngine(settings, records)
