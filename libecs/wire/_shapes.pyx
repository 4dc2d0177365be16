# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, initializedcheck=False
"""The shapes of shapes.py, compiled: the same values, the same refusals in the same words, in a tenth of the time.

What costs is to make frozen attrs objects: their __init__ sets each slot through object.__setattr__. Here a slot is
filled through its member descriptor, which checks that the object is of its class. Classes that want more of their
__init__ than that (converters, validators, __attrs_post_init__, no slots) are called as usual.
"""

from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM

from types import MemberDescriptorType

import attrs

from libecs.errors import DecodeError
from libecs.wire.shapes import MAX_ITEMS as _MAX_ITEMS

cdef extern from "Python.h":
    bint PyObject_IS_GC(object)
    void PyObject_GC_UnTrack(PyObject *)
    ctypedef object (*descrgetfunc)(PyObject *, PyObject *, PyObject *)
    ctypedef int (*descrsetfunc)(PyObject *, PyObject *, PyObject *) except -1
    ctypedef struct PyTypeObject
    ctypedef object (*newfunc)(PyTypeObject *, PyObject *, PyObject *)
    ctypedef struct PyTypeObject:
        descrgetfunc tp_descr_get
        descrsetfunc tp_descr_set
        newfunc tp_new

cdef Py_ssize_t MAX_ITEMS = _MAX_ITEMS
cdef tuple NOTHING_TO_PASS = ()
cdef PyTypeObject *MEMBER = <PyTypeObject *><PyObject *>MemberDescriptorType


cdef class Shape:
    """What every shape can do."""

    cdef readonly bint as_is

    cdef object read(self, object value):
        raise NotImplementedError  # each kind of shape has its own

    cdef object write(self, object value):
        return value

    def pack(self, value):
        return self.write(value)

    def unpack(self, value):
        return self.read(value)


cdef class Exact(Shape):
    cdef readonly object kind

    def __init__(self, kind):
        self.as_is = True
        self.kind = kind

    cdef object read(self, object value):
        if type(value) is not self.kind:
            raise DecodeError(f"{self.kind.__name__} expected, not {type(value).__name__}")
        return value


cdef class Number(Shape):
    def __init__(self):
        self.as_is = True

    cdef object read(self, object value):
        if type(value) is float:
            return value
        if type(value) is int:
            return float(value)
        raise DecodeError(f"number expected, not {type(value).__name__}")


cdef class Member(Shape):
    cdef readonly object cls
    cdef readonly dict members

    def __init__(self, cls):
        self.as_is = True
        self.cls = cls
        self.members = {int(member): member for member in cls}

    cdef object read(self, object value):
        member = self.members.get(value) if type(value) is int else None
        if member is None:
            raise DecodeError(f"{value!r:.40} is no {self.cls.__name__}")
        return member


cdef class Maybe(Shape):
    cdef readonly Shape inner

    def __init__(self, Shape inner not None):
        self.as_is = inner.as_is
        self.inner = inner

    cdef object read(self, object value):
        return None if value is None else self.inner.read(value)

    cdef object write(self, object value):
        return None if value is None else self.inner.write(value)


cdef class Many(Shape):
    cdef readonly Shape inner

    def __init__(self, Shape inner not None):
        self.as_is = inner.as_is
        self.inner = inner

    cdef object read(self, object value):
        cdef Py_ssize_t i, n
        if type(value) is not list:
            raise DecodeError(f"array expected, not {type(value).__name__}")
        n = PyList_GET_SIZE(value)
        if n > MAX_ITEMS:
            raise DecodeError(f"an array of {n}; {MAX_ITEMS} are allowed")
        cdef tuple made = PyTuple_New(n)
        for i in range(n):
            one = self.inner.read(<object>PyList_GET_ITEM(value, i))
            Py_INCREF(one)
            PyTuple_SET_ITEM(made, i, one)
        if n:
            PyObject_GC_UnTrack(<PyObject *>made)
        return made

    cdef object write(self, object value):
        return value if self.as_is else [self.inner.write(one) for one in value]


cdef class Fixed(Shape):
    cdef readonly tuple inner

    def __init__(self, inner):
        self.inner = tuple(inner)
        self.as_is = True
        for shape in self.inner:
            self.as_is = self.as_is and (<Shape?>shape).as_is

    cdef object read(self, object value):
        if type(value) is not list or len(<list>value) != len(self.inner):
            raise DecodeError(f"array of {len(self.inner)} expected")
        return tuple([(<Shape>shape).read(one) for shape, one in zip(self.inner, <list>value)])

    cdef object write(self, object value):
        if self.as_is:
            return value
        return [(<Shape>shape).write(one) for shape, one in zip(self.inner, value, strict=True)]


cdef class Keyed(Shape):
    cdef readonly Shape inner

    def __init__(self, Shape inner not None):
        self.as_is = inner.as_is
        self.inner = inner

    cdef object read(self, object value):
        cdef PyObject *name = NULL
        cdef PyObject *one = NULL
        cdef Py_ssize_t place = 0
        if type(value) is not dict:
            raise DecodeError(f"map expected, not {type(value).__name__}")
        if PyDict_Size(value) > MAX_ITEMS:
            raise DecodeError(f"a map of {len(value)}; {MAX_ITEMS} are allowed")
        while PyDict_Next(value, &place, &name, &one):
            if type(<object>name) is not str:
                raise DecodeError(f"map key: str expected, not {type(<object>name).__name__}")
        if type(self.inner) is Exact:
            place = 0
            while PyDict_Next(value, &place, &name, &one):
                self.inner.read(<object>one)
            return value  # the byte reader made it for us alone
        return {key: self.inner.read(item) for key, item in (<dict>value).items()}

    cdef object write(self, object value):
        if self.as_is:
            return value
        return {key: self.inner.write(item) for key, item in value.items()}


cdef class Record(Shape):
    """An attrs class: an array of its fields, in their order."""

    cdef readonly object cls
    cdef readonly tuple names
    cdef readonly tuple shapes
    cdef readonly Py_ssize_t required
    cdef tuple _members
    """Descriptors of the slots, in the order of the fields; None = the class is read and made as usual."""
    cdef tuple _defaults
    """(value, factory) of each field; both None: it has no default."""

    def __init__(self, cls, names, shapes, Py_ssize_t required):
        self.as_is = False
        self.cls = cls
        self.names = tuple(names)
        self.shapes = tuple(shapes)
        self.required = required
        for shape in self.shapes:
            if not isinstance(shape, Shape):
                raise TypeError(f"{shape!r} is no shape")
        if len(self.names) != len(self.shapes):
            raise TypeError(f"{len(self.names)} names, {len(self.shapes)} shapes")
        self._members, self._defaults = _slots(cls)

    cdef tuple _write(self, object value, object kind):
        """Return the fields, with the kind before them unless it is None."""
        cdef Py_ssize_t i
        cdef Py_ssize_t n = len(self.names)
        cdef Py_ssize_t head = kind is not None
        cdef Shape shape
        cdef object item
        cdef PyObject *member
        cdef tuple made = PyTuple_New(n + head)
        if head:
            Py_INCREF(kind)
            PyTuple_SET_ITEM(made, 0, kind)
        for i in range(n):
            if self._members is None:
                item = getattr(value, self.names[i])
            else:
                member = <PyObject *>PyTuple_GET_ITEM(self._members, i)
                item = MEMBER.tp_descr_get(member, <PyObject *>value, <PyObject *>self.cls)
            shape = <Shape>PyTuple_GET_ITEM(self.shapes, i)
            if not shape.as_is:
                item = shape.write(item)
            Py_INCREF(item)
            PyTuple_SET_ITEM(made, i + head, item)
        return made

    cdef object write(self, object value):
        return self._write(value, None)

    def pack_as(self, kind, value):
        return self._write(value, kind)

    cdef object read(self, object value):
        if type(value) is not list:
            raise DecodeError(f"{self.cls.__name__}: an array was expected, not {type(value).__name__}")
        return self._read(<list>value, 0)

    def unpack_message(self, list value not None):
        return self._read(value, 1)

    cdef object _read(self, list items, Py_ssize_t skip):
        cdef Py_ssize_t given = PyList_GET_SIZE(items) - skip
        cdef Py_ssize_t n = len(self.names)
        cdef Py_ssize_t i
        cdef object item, made
        cdef PyObject *member
        if given < self.required:
            raise DecodeError(f"{self.cls.__name__}: {max(given, 0)} fields, at least {self.required} are needed")
        if given > n:
            given = n
        if self._members is None:
            return self.cls(**{self.names[i]: self._item(items, i, skip) for i in range(given)})
        made = (<PyTypeObject *>self.cls).tp_new(<PyTypeObject *>self.cls, <PyObject *>NOTHING_TO_PASS, NULL)
        for i in range(n):
            if i < given:
                item = self._item(items, i, skip)
            else:
                item, factory = <tuple>PyTuple_GET_ITEM(self._defaults, i)
                if factory is not None:
                    item = factory()
            member = <PyObject *>PyTuple_GET_ITEM(self._members, i)
            MEMBER.tp_descr_set(member, <PyObject *>made, <PyObject *>item)
        # A message is frozen and made of nothing but what came out of its frame: it can be part of no cycle. Unless it
        # is told, the garbage collector looks at each of a hundred thousand roles again and again.
        if PyObject_IS_GC(made):
            PyObject_GC_UnTrack(<PyObject *>made)
        return made

    cdef object _item(self, list items, Py_ssize_t i, Py_ssize_t skip):
        try:
            return (<Shape>PyTuple_GET_ITEM(self.shapes, i)).read(<object>PyList_GET_ITEM(items, i + skip))
        except DecodeError as error:
            raise DecodeError(f"{self.cls.__name__}.{self.names[i]}: {error.message}") from None


def _slots(cls):
    """Return the descriptors and defaults of a class whose __init__ does no more than fill its slots, or two None."""
    wants_more = ("__attrs_post_init__", "__attrs_pre_init__", "_attrs_cached_hash")
    if any(hasattr(cls, name) for name in wants_more) or cls.__new__ is not object.__new__:
        return None, None
    members = []
    defaults = []
    for field in attrs.fields(cls):
        member = getattr(cls, field.name, None)
        factory = isinstance(field.default, attrs.Factory)
        if (
            type(member) is not MemberDescriptorType
            or not field.init
            or field.converter is not None
            or field.validator is not None
            or (factory and field.default.takes_self)
        ):
            return None, None
        members.append(member)
        defaults.append((None, field.default.factory) if factory else (field.default, None))
    return tuple(members), tuple(defaults)
