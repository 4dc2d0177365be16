"""What expressions of tests see: variables, roles, and functions that fail."""

from __future__ import annotations

from libecs.errors import ExpressionError, Missing, NotFound
from libecs.language.expression import RoleRef, Value, compile_expression
from libecs.language.functions import Function, FunctionTable, TableScope, pure_functions

ROOT = RoleRef(name="root", path="root")
HOST = RoleRef(name="host-flp1", path="root.host-flp1")


def up(height: int) -> Value:
    return {1: HOST, 2: ROOT}.get(height)


def detector(host: str) -> str:
    if host != "flp1":
        raise NotFound(f"no detector for host {host}", hint="add it to the inventory")
    return "TPC"


def missing(path: str) -> Value:
    raise Missing(["qc/ANY/any/x"])


def nested(path: str) -> Value:
    raise ExpressionError("bad payload", file="qc/ANY/any/x", line=3, column=7)


TABLE: FunctionTable = pure_functions(lambda: "2oDvieFrVTi").extended(
    {
        "Parent": Function(lambda: HOST),
        "Up": Function(up, ("int",)),
        "inventory.DetectorForHost": Function(detector, ("string",)),
        "config.Get": Function(missing, None),
        "config.GetLegacy": Function(nested, None),
        "dcs.StartOfRun": Function(lambda: "done"),
    }
)
VARIABLES: dict[str, Value] = {
    "yes": "true",
    "no": "false",
    "empty": "",
    "name": "readout",
    "five": "5",
    "detectors": '["TPC","ITS"]',
    "it": "alio2-cr1-flp145",
    "dpl_workflow": "none",
    "tpc_dpl_workflow": "tpc-full",
    "role": HOST,
    "nothing": None,
}
SCOPE = TableScope(VARIABLES, TABLE)


def value_of(source: str) -> Value:
    return compile_expression(source, None).evaluate(SCOPE)
