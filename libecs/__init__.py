"""An experiment control system as a library: workflows, state machines, configuration, engines, and a session.

`import libecs` is quick: what a name stands for is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from libecs.client.connection import connect
    from libecs.errors import (
        Conflict,
        Denied,
        EcsError,
        IllegalTransition,
        InvalidInput,
        Missing,
        NotFound,
        RunFailed,
        TemplateError,
        TransitionFailed,
        Unplaceable,
        Unreachable,
        UsageError,
        WaitTimeout,
    )
    from libecs.io.embedded import NodeDescription
    from libecs.script import task, workflow
    from libecs.session import local

__all__ = [
    "Conflict",
    "Denied",
    "EcsError",
    "IllegalTransition",
    "InvalidInput",
    "Missing",
    "NodeDescription",
    "NotFound",
    "RunFailed",
    "TemplateError",
    "TransitionFailed",
    "Unplaceable",
    "Unreachable",
    "UsageError",
    "WaitTimeout",
    "connect",
    "local",
    "task",
    "workflow",
]

_PLACES = {
    "NodeDescription": "libecs.io.embedded",
    "connect": "libecs.client.connection",
    "local": "libecs.session",
    "task": "libecs.script",
}
"""Where names are that are no errors."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in __all__:
        return getattr(import_module("libecs.errors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _WorkflowPackage(ModuleType):
    """The package `libecs.workflow`, which can also be called: `libecs.workflow("lab", tasks={…})`.

    Scripts and the floor of this name want the same word, and importing the floor sets it; so it answers to both.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("libecs.script").workflow(*arguments, **options)


import_module("libecs.workflow").__class__ = _WorkflowPackage
