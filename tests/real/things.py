"""Classes and functions of every kind, as a user may write them; loaded here and in a companion."""

import abc
import collections
import contextlib
import dataclasses
import enum
import functools


class Upper:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, thing, kind=None):
        return self if thing is None else getattr(thing, self.name, "").upper()

    def __set__(self, thing, value):
        setattr(thing, self.name, value)


class Counting(type):
    made = 0

    def __call__(cls, *args, **kwargs):
        Counting.made += 1
        return super().__call__(*args, **kwargs)

    def __len__(cls):
        return Counting.made

    @property
    def shout(cls):
        return cls.__name__ + "!"


class Point(metaclass=Counting):
    """A point of the plane."""

    __slots__ = ("x", "y", "_label", "__weakref__")
    __match_args__ = ("x", "y")
    label = Upper()
    unit = "cm"

    def __init__(self, x, y=0):
        self.x, self.y = x, y

    @classmethod
    def origin(cls):
        return cls(0, 0)

    @staticmethod
    def distance(p, q):
        return ((p.x - q.x) ** 2 + (p.y - q.y) ** 2) ** 0.5

    @property
    def size(self):
        return (self.x**2 + self.y**2) ** 0.5

    @size.setter
    def size(self, value):
        factor = value / self.size
        self.x *= factor
        self.y *= factor

    @functools.cached_property
    def slow(self):
        return 1

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self):
        return hash((self.x, self.y))

    def __repr__(self):
        return f"Point({self.x}, {self.y})"

    def __format__(self, spec):
        return f"<{format(self.x, spec)}, {format(self.y, spec)}>"

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)

    def __iadd__(self, other):
        self.x += other.x
        self.y += other.y
        return self

    def __mul__(self, n):
        return Point(self.x * n, self.y * n)

    __rmul__ = __mul__

    def __neg__(self):
        return Point(-self.x, -self.y)

    def __abs__(self):
        return self.size

    def __lt__(self, other):
        return self.size < other.size

    def __iter__(self):
        return iter((self.x, self.y))

    def __bool__(self):
        return bool(self.x or self.y)

    def __getitem__(self, i):
        return (self.x, self.y)[i]

    def __contains__(self, n):
        return n in (self.x, self.y)

    def __len__(self):
        return 2

    def __call__(self, scale=1, *, shift=0):
        return (self.x * scale + shift, self.y * scale + shift)

    def __divmod__(self, n):
        return (self.x // n, self.x % n)

    def __round__(self, n=None):
        return Point(round(self.x, n), round(self.y, n))

    def __bytes__(self):
        return bytes([int(self.x), int(self.y)])


class Point3(Point):
    """A point of space."""

    z = 7

    def size3(self):
        return self.size + self.z


class Index:
    def __init__(self, n):
        self.n = n

    def __index__(self):
        return self.n

    def __int__(self):
        return self.n

    def __float__(self):
        return float(self.n)

    def __complex__(self):
        return complex(self.n, 1)

    def __trunc__(self):
        return self.n

    def __floor__(self):
        return self.n

    def __ceil__(self):
        return self.n + 1

    def __hash__(self):
        return 99

    def __fspath__(self):
        return f"/tmp/{self.n}"


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    @classmethod
    def __init_subclass__(cls, /, **kw):
        super().__init_subclass__(**kw)
        cls.known = getattr(cls, "known", ()) + (cls.__name__,)


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Flags(enum.IntFlag):
    R = 4
    W = 2


@dataclasses.dataclass(order=True)
class Item:
    name: str
    price: float = 1.0
    tags: list = dataclasses.field(default_factory=list)


Pair = collections.namedtuple("Pair", "left right", defaults=[5])


def countdown(n):
    """Count down."""
    total = 0
    while n:
        got = yield n
        n, total = n - 1, total + (got or 0)
    return total


def closing(log):
    try:
        while True:
            try:
                yield 1
            except ValueError as error:
                yield f"caught {error}"
    finally:
        log("closed")


@contextlib.contextmanager
def noted(log, swallow=False):
    log("in")
    try:
        yield "value"
    except KeyError:
        if not swallow:
            raise
        log("swallowed")
    finally:
        log("out")


def add(a, b=2, /, c=3, *rest, d, e=5, **more) -> int:
    """Add up."""
    return a + b + c + d + e


class Bag(dict):
    def __missing__(self, key):
        return key * 2


class Trap:
    touched = 0

    @property
    def danger(self):
        Trap.touched += 1
        raise RuntimeError("touched")

    @property
    def fine(self):
        Trap.touched += 1
        return 1


class Chain:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self.calls.append(name)
        return self

    def __setitem__(self, key, value):
        self.calls.append((key, value))

    def __delitem__(self, key):
        self.calls.append(("del", key))
