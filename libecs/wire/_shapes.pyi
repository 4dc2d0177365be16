"""Types of the compiled shapes; what they mean is said in shapes.py."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

class Shape:
    as_is: bool
    def pack(self, value: Any) -> Any: ...
    def unpack(self, value: Any) -> Any: ...

class Exact(Shape):
    def __init__(self, kind: type) -> None: ...

class Number(Shape):
    def __init__(self) -> None: ...

class Member(Shape):
    def __init__(self, cls: type[IntEnum]) -> None: ...

class Maybe(Shape):
    def __init__(self, inner: Shape) -> None: ...

class Many(Shape):
    def __init__(self, inner: Shape) -> None: ...

class Fixed(Shape):
    def __init__(self, inner: Sequence[Shape]) -> None: ...

class Keyed(Shape):
    def __init__(self, inner: Shape) -> None: ...

class Record(Shape):
    cls: type
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    required: int
    def __init__(self, cls: type, names: Sequence[str], shapes: Sequence[Shape], required: int) -> None: ...
    def pack_as(self, kind: int, value: Any) -> tuple[Any, ...]: ...
    def unpack_message(self, value: list[Any]) -> Any: ...
