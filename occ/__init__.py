"""The OCC library of tasks: libocc for C programs, and its Python face.

    import occ

    class Camera(occ.Task):
        def configure(self, properties): ...
        def iterate_running(self): ...

    Camera().run()

`occ.fairmq_device` has the same for FairMQ's state machine, `occ.stream` what the example tasks are made of.
"""

from occ._occ import END_OF_STREAM, EndOfStream, Task
from occ._table import TaskState

__all__ = ["END_OF_STREAM", "EndOfStream", "Task", "TaskState"]
