"""What a companion tells of one of its classes, checked before a mirror is made of it (host)."""

from __future__ import annotations

from typing import Any, NamedTuple

_MOST_BASES = 100  # Python takes the square of their number to put them in order


class Description(NamedTuple):
    """What the companion tells about one of its classes; all plain data.

    Attributes:
        module, name, text: `__module__`, `__qualname__` and `__doc__`.
        bases: the base classes without `object`, already mirrored.
        special: the special methods that the class itself defines; a leading `-` marks one set to None.
        methods: the names of its ordinary methods.
        fields: the names of a namedtuple's fields, or None.
        callable_text: whether instances have a `__doc__` of their own (functions, modules).
        checks: whether its metaclass answers `isinstance` and `issubclass` itself, as an ABC's does.
        origin: the class of this session that it is a copy of, or None.
        descriptors: the names of its properties and the like.
    """

    module: str
    name: str
    text: str | None
    bases: tuple[type, ...]
    special: tuple[str, ...]
    methods: tuple[str, ...]
    fields: tuple[str, ...] | None
    callable_text: bool
    checks: bool
    origin: type | None
    descriptors: tuple[str, ...] = ()


def check(told: Any) -> Description:
    """Return what a companion told of a class as a description.

    Raises:
        ValueError: it is none.
    """
    if type(told) is not tuple or len(told) != len(Description._fields):
        raise ValueError("a class that is told otherwise than classes are")
    made = Description(*told)
    texts = [made.special, made.methods, made.descriptors, made.fields or ()]
    if not (
        type(made.module) is type(made.name) is str
        and (made.text is None or type(made.text) is str)
        and type(made.bases) is tuple
        and len(made.bases) <= _MOST_BASES
        and all(issubclass(type(kind), type) for kind in (*made.bases, made.origin or object))
        and all(type(names) is tuple and all(type(name) is str for name in names) for names in texts)
    ):
        raise ValueError(f"a class with a description that makes no sense: {made.name!r:.100}")
    return made
