"""The error that a core tells in Finished, Refused or Document, made an exception again on the side of the client."""

from __future__ import annotations

from collections.abc import Iterator

from libecs.errors import (
    EcsError,
    IllegalTransition,
    Missing,
    TemplateError,
    TransitionFailed,
    Unplaceable,
)
from libecs.wire.client import Document, Finished, Refused


def _tree(cls: type[EcsError]) -> Iterator[type[EcsError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


CLASSES = {cls.code: cls for cls in _tree(EcsError)}
"""Every code to its class."""


def of_finished(finished: Finished) -> EcsError:
    """Return the error that `finished.code` names, filled from the rest. An unknown code gives a plain EcsError."""
    cls = CLASSES.get(finished.code, EcsError)
    if issubclass(cls, TransitionFailed):
        return cls(finished.message, cause=finished.cause, failures=finished.failures, hint=finished.hint)
    error = cls.__new__(cls)
    # Past the constructors of the subclasses: they build the message, and here it comes built.
    EcsError.__init__(error, finished.message, hint=finished.hint)
    if isinstance(error, IllegalTransition):
        error.state, error.event, error.allowed = finished.state.name, "", ()
    elif isinstance(error, Unplaceable):
        error.reasons = dict(finished.failures)
    elif isinstance(error, Missing):
        error.keys = tuple(finished.failures)
    elif isinstance(error, TemplateError):
        error.reason, error.file, error.line, error.column = finished.message, "", 0, 0
        error.path, error.excerpt = "", ""
    return error


def of_refused(answer: Refused | Document) -> EcsError:
    """Return the error that a question was refused with."""
    return of_finished(Finished(operation="", code=answer.code, message=answer.message, hint=answer.hint))
