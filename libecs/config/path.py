"""Paths of component configuration: `component/RUNTYPE/role/entry`, and the order in which fallbacks are tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum

import attrs

from libecs.errors import InvalidInput, NotFound, quoted

COMPONENTS = "o2/components/"
"""Folder of all component configuration."""
RUNTIME = "o2/runtime/"
"""Folder of the runtime values, `<component>/<key>` below it."""
ANY_ROLE = "any"


class RunType(IntEnum):
    """What a run is for. Numbers are AliECS' own."""

    NULL = 0
    PHYSICS = 1
    TECHNICAL = 2
    PEDESTAL = 3
    PULSER = 4
    LASER = 5
    CALIBRATION_ITHR_TUNING = 6
    CALIBRATION_VCASN_TUNING = 7
    CALIBRATION_THR_SCAN = 8
    CALIBRATION_DIGITAL_SCAN = 9
    CALIBRATION_ANALOG_SCAN = 10
    CALIBRATION_FHR = 11
    CALIBRATION_ALPIDE_SCAN = 12
    CALIBRATION = 13
    COSMICS = 14
    SYNTHETIC = 15
    NOISE = 16
    CALIBRATION_PULSE_LENGTH = 17
    CALIBRATION_VRESETD = 18
    ANY = 300


_NO_RUN_TYPE = "NONE"
"""What production writes into `run_type` when there is none; it is stored nowhere, so only ANY can match."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ENTRY = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_HINT = "a path is component/RUNTYPE/role/entry, such as qc/PHYSICS/any/ctp-raw-qc; only the entry may hold more /"


@attrs.frozen
class ComponentPath:
    """Place of one entry of component configuration."""

    component: str
    run_type: RunType
    role: str
    entry: str

    def __str__(self) -> str:
        return f"{self.component}/{self.run_type.name}/{self.role}/{self.entry}"

    @property
    def key(self) -> str:
        """The key in the key-value tree."""
        return COMPONENTS + str(self)


def run_type(name: str) -> RunType:
    """Return the run type of that name; "NONE" is `RunType.NULL`.

    Raises:
        InvalidInput: there is no such run type. AliECS takes NULL, so that a typo reads the configuration of ANY.
    """
    if name == _NO_RUN_TYPE:
        return RunType.NULL
    try:
        return RunType[name]
    except KeyError:
        known = ", ".join(member.name for member in RunType if member is not RunType.NULL)
        raise InvalidInput(
            f"unknown run type {quoted(name)}", hint=f"known run types: {_NO_RUN_TYPE}, {known}"
        ) from None


def component_path(component: str, run_type_name: str, role: str, entry: str) -> ComponentPath:
    """Make a path of its four parts.

    Raises:
        InvalidInput: a part is empty or holds other characters than letters, digits, "-" and "_" (entry: also "/").
    """
    for what, text, pattern in (("component", component, _NAME), ("role", role, _NAME), ("entry", entry, _ENTRY)):
        if not pattern.fullmatch(text):
            whole = f"{component}/{run_type_name}/{role}/{entry}"
            raise InvalidInput(
                f"bad configuration path {quoted(whole)}: {what} {quoted(text)} is not possible", hint=_HINT
            )
    return ComponentPath(component, run_type(run_type_name), role, entry)


def parse_path(text: str) -> ComponentPath:
    """Read `component/RUNTYPE/role/entry`.

    Raises:
        InvalidInput: it is no such path.
    """
    parts = text.split("/", 3)
    if len(parts) < 4:
        raise InvalidInput(f"bad configuration path {quoted(text)}: {len(parts)} of 4 parts", hint=_HINT)
    return component_path(*parts)


def candidates(path: ComponentPath) -> tuple[ComponentPath, ...]:
    """Return the paths that may stand in for `path`, the best first, each once."""
    tried = [
        attrs.evolve(path, run_type=wanted, role=role)
        for role in (path.role, ANY_ROLE)
        for wanted in (path.run_type, RunType.ANY)
    ]
    return tuple(dict.fromkeys(tried))


def resolve(path: ComponentPath, exists: Callable[[str], bool]) -> ComponentPath:
    """Return the first candidate whose key `exists`.

    Raises:
        NotFound: none does.
    """
    tried = candidates(path)
    for candidate in tried:
        if exists(candidate.key):
            return candidate
    raise NotFound(
        f"could not resolve configuration path {path}",
        hint="none of these exists: " + ", ".join(str(candidate) for candidate in tried),
    )


def runtime_key(component: str, key: str) -> str:
    """Return the key of a runtime value.

    Raises:
        InvalidInput: component or key is empty.
    """
    component, key = component.strip("/"), key.strip("/")
    if not component or not key:
        raise InvalidInput(f"a runtime value needs a component and a key, not {component!r} and {key!r}")
    return f"{RUNTIME}{component}/{key}"
