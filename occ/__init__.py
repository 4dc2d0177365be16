"""The OCC library of tasks: libocc for C programs, and its Python face.

    import occ

    class Camera(occ.Task):
        def configure(self, properties): ...
        def iterate_running(self): ...

    Camera().run()
"""

from occ._occ import END_OF_STREAM, Task
from occ._table import TaskState

__all__ = ["END_OF_STREAM", "Task", "TaskState"]
