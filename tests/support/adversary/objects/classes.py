"""Programs on names and bases of classes, on functions and methods.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import operator

from ..common import suite
from .callables import steps

CASES, case = suite()


# ---- classes, functions, methods
def renamed(name, read, change):
    def program(jit):
        class A:
            k = 1.0

        class B(A):
            """doc"""

            def m(self):
                "text"
                return 1

        class Other:
            k = 4.0

        o = B()
        f = jit(lambda x: x * read(o, A, B, Other))
        return steps(f, lambda: change(o, A, B, Other))

    program.__name__ = f"class_{name}"
    return case(program)


def _rename(o, A, B, Other):
    B.__name__ = "Longer"


def _bases(o, A, B, Other):
    class New(A):
        k = 9.0

    B.__bases__ = (New,)


def _mod(o, A, B, Other):
    B.__module__ = "elsewhere_far"


renamed("name", lambda o, A, B, Other: len(type(o).__name__), _rename)
renamed("name_class", lambda o, A, B, Other: len(o.__class__.__name__), _rename)
renamed("name_direct", lambda o, A, B, Other: len(B.__name__), _rename)
renamed("name_getattr", lambda o, A, B, Other: len(getattr(B, "__name__")), _rename)
renamed("name_map", lambda o, A, B, Other: sum(len(t.__name__) for t in map(type, [o])), _rename)
renamed(
    "name_attrgetter",
    lambda o, A, B, Other: len(operator.attrgetter("__class__.__name__")(o)),
    _rename,
)
renamed("name_dict", lambda o, A, B, Other: 2.0 if type(o).__name__ in {"B": 1} else 3.0, _rename)
renamed("name_format", lambda o, A, B, Other: len(f"{type(o).__name__}"), _rename)
renamed("repr", lambda o, A, B, Other: len(repr(B)), _mod)
renamed("repr_instance", lambda o, A, B, Other: 1 if "elsewhere" in repr(o) else 2, _mod)
renamed("str_map", lambda o, A, B, Other: sum(map(len, map(str, [B]))), _mod)
renamed("module", lambda o, A, B, Other: len(B.__module__), _mod)
renamed(
    "qualname",
    lambda o, A, B, Other: len(B.__qualname__),
    lambda o, A, B, Other: setattr(B, "__qualname__", "q"),
)
renamed(
    "doc",
    lambda o, A, B, Other: len(B.__doc__),
    lambda o, A, B, Other: setattr(B, "__doc__", "longer"),
)
renamed("bases", lambda o, A, B, Other: 2.0 if B.__bases__ == (A,) else 3.0, _bases)
renamed("mro", lambda o, A, B, Other: len(B.__mro__), _bases)
renamed("mro_call", lambda o, A, B, Other: len(B.mro()), _bases)
renamed("base_value", lambda o, A, B, Other: o.k, _bases)
renamed(
    "subclasses",
    lambda o, A, B, Other: len(A.__subclasses__()),
    lambda o, A, B, Other: setattr(A, "q", type("Z", (A,), {})),
)
renamed(
    "class_dict",
    lambda o, A, B, Other: len(B.__dict__),
    lambda o, A, B, Other: setattr(B, "extra", 1),
)
renamed(
    "class_dict_item",
    lambda o, A, B, Other: A.__dict__["k"],
    lambda o, A, B, Other: setattr(A, "k", 5.0),
)
renamed(
    "vars_class", lambda o, A, B, Other: vars(A)["k"], lambda o, A, B, Other: setattr(A, "k", 5.0)
)
renamed(
    "class_assigned",
    lambda o, A, B, Other: o.k,
    lambda o, A, B, Other: setattr(o, "__class__", Other),
)
renamed(
    "isinstance",
    lambda o, A, B, Other: 2.0 if isinstance(o, Other) else 3.0,
    lambda o, A, B, Other: setattr(o, "__class__", Other),
)
renamed(
    "isinstance_bases",
    lambda o, A, B, Other: 2.0 if isinstance(o, Other) else 3.0,
    lambda o, A, B, Other: setattr(
        B, "__bases__", (A, type("Y", (Other,), {}), Other)[::1][:1] + (Other,)
    ),
)
renamed(
    "issubclass_bases",
    lambda o, A, B, Other: 2.0 if issubclass(B, Other) else 3.0,
    lambda o, A, B, Other: setattr(B, "__bases__", (A, Other)),
)
renamed(
    "method_name",
    lambda o, A, B, Other: len(o.m.__name__),
    lambda o, A, B, Other: setattr(B.m, "__name__", "long"),
)
renamed(
    "method_doc",
    lambda o, A, B, Other: len(o.m.__doc__),
    lambda o, A, B, Other: setattr(B.m, "__doc__", "d"),
)
renamed(
    "method_attr",
    lambda o, A, B, Other: getattr(o.m, "w", 1.0),
    lambda o, A, B, Other: setattr(B.m, "w", 3.0),
)
renamed(
    "method_self",
    lambda o, A, B, Other: o.m.__self__.k,
    lambda o, A, B, Other: setattr(o, "k", 3.0),
)
renamed(
    "method_func",
    lambda o, A, B, Other: getattr(o.m.__func__, "w", 1.0),
    lambda o, A, B, Other: setattr(B.m, "w", 3.0),
)
renamed(
    "annotations",
    lambda o, A, B, Other: len(B.m.__annotations__),
    lambda o, A, B, Other: B.m.__annotations__.update(a=1),
)
renamed(
    "function_dict",
    lambda o, A, B, Other: len(B.m.__dict__),
    lambda o, A, B, Other: setattr(B.m, "w", 3.0),
)
renamed(
    "function_globals",
    lambda o, A, B, Other: len(B.m.__module__),
    lambda o, A, B, Other: setattr(B.m, "__module__", "z"),
)
renamed(
    "super_attr", lambda o, A, B, Other: super(B, o).k, lambda o, A, B, Other: setattr(A, "k", 6.0)
)
renamed("super_bases", lambda o, A, B, Other: super(B, o).k, _bases)


@case
def abstract_methods(jit):
    import abc

    class A(abc.ABC):
        @abc.abstractmethod
        def go(self): ...

    f = jit(lambda x: x * (1 + len(A.__abstractmethods__)))
    return steps(f, lambda: setattr(A, "__abstractmethods__", frozenset()))


@case
def metaclass_attribute(jit):
    class M(type):
        k = 2.0

        @property
        def p(cls):
            return cls.k + cls.z

    class C(metaclass=M):
        z = 1.0

    f = jit(lambda x: x * C.p + C.k)
    return steps(
        f, lambda: setattr(M, "k", 4.0), lambda: setattr(C, "z", 5.0), lambda: setattr(C, "k", 1.0)
    )


@case
def class_property_lies(jit):
    class Other:
        pass

    class C:
        lie = Other

        @property
        def __class__(self):
            return self.lie

    o = C()
    f = jit(lambda x: x * 2 if isinstance(o, Other) else x * 3)
    return steps(f, lambda: setattr(C, "lie", C))
