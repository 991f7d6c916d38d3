"""Everyday Python with objects of a companion: each piece gives the same here and there."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from real.twice import difference

from isolate_magic import Companion

FILE = Path(__file__).parent / "things.py"

PIECES = {
    "dir lists the attributes of an instance": """
        result = [n for n in dir(m.Point(1, 2)) if not n.startswith('__')]
    """,
    "dir lists the attributes of a class": """
        result = [n for n in dir(m.Point3) if not n.startswith('__')]
    """,
    "dir lists the names of a module": """
        result = 'Point' in dir(m) and 'linalg' in dir(np)
    """,
    "vars gives the attributes of an instance": """
        i = m.Item('a')
        result = vars(i) == {'name': 'a', 'price': 1.0, 'tags': []}
    """,
    "help tells of a class": """
        import pydoc
        text = pydoc.plain(pydoc.render_doc(m.Point))
        result = [w in text for w in ('A point of the plane.', 'origin(', 'distance(p, q)', 'size', 'class Point(')]
    """,
    "help tells of a function": """
        import pydoc
        text = pydoc.plain(pydoc.render_doc(m.add))
        result = text
    """,
    "help tells of a function of numpy": """
        import pydoc
        result = pydoc.plain(pydoc.render_doc(np.linalg.svd)).splitlines()[:6]
    """,
    "help tells of a function in a class": """
        import pydoc
        result = pydoc.plain(pydoc.render_doc(pd.DataFrame.head)).splitlines()[2:8]
    """,
    "help tells of a method": """
        import pydoc
        result = pydoc.plain(pydoc.render_doc(pd.DataFrame({'a': [1]}).head)).splitlines()[2:8]
    """,
    "signature of a function": """
        import inspect
        result = str(inspect.signature(m.add))
    """,
    "signature of a class": """
        import inspect
        result = str(inspect.signature(m.Point)), str(inspect.signature(m.Item))
    """,
    "signature of a method": """
        import inspect
        p = m.Point(1)
        result = str(inspect.signature(p.distance)), str(inspect.signature(p.origin)), str(inspect.signature(p)), str(inspect.signature(m.Point3.size3))
    """,
    "signature of numpy": """
        import inspect
        result = list(inspect.signature(np.linalg.svd).parameters)
    """,
    "getdoc": """
        import inspect
        result = inspect.getdoc(m.Point), inspect.getdoc(m.add), inspect.getdoc(m.Point.origin), m.Point.__doc__, m.countdown.__doc__
    """,
    "inspect predicates": """
        import inspect
        g = m.countdown(2)
        result = (inspect.isfunction(m.add), inspect.isclass(m.Point), inspect.ismodule(m), inspect.isgenerator(g), inspect.isgeneratorfunction(m.countdown), inspect.ismethod(m.Point.origin), inspect.isroutine(m.add), inspect.isbuiltin(len), callable(m.add), callable(m.Point(1)), callable(m.Item('a')))
    """,
    "class names": """
        result = m.Point.__name__, m.Point.__qualname__, m.Point.__module__, type(m.Point(1)).__name__, m.Point(1).__class__.__name__, m.add.__name__, m.Point.origin.__name__, m.Point(1).origin.__name__, m.__name__
    """,
    "type is class": """
        p = m.Point(1)
        result = type(p) is m.Point, p.__class__ is m.Point, isinstance(p, m.Point), issubclass(m.Point3, m.Point), type(m.Point3(1)) is m.Point, m.Point3.__bases__ == (m.Point,), m.Point3.__mro__[1] is m.Point, m.Point.mro()[-1] is object
    """,
    "metaclass": """
        m.Point(1)
        result = m.Point.shout, isinstance(m.Point, type), isinstance(m.Point, m.Counting), len(m.Point) > 0, bool(m.Point)
    """,
    "class attribute": """
        m.Point.unit = 'mm'
        a = m.Point(1).unit
        m.Point.unit = 'cm'
        result = a, m.Point.unit, m.Point3.unit, hasattr(m.Point, 'nothing'), getattr(m.Point(1), 'nothing', 5)
    """,
    "descriptor": """
        p = m.Point(1)
        p.label = 'abc'
        result = p.label, p._label
    """,
    "property": """
        p = m.Point(3, 4)
        p.size = 10
        result = p.size, p.x
    """,
    "slots": """
        p = m.Point(1)
        try:
            p.nothing = 1
        except AttributeError as error:
            result = str(error).split(' and ')[0]
    """,
    "readonly property": """
        t = m.Trap()
        try:
            t.fine = 3
        except AttributeError as error:
            result = str(error)
    """,
    "missing attribute error": """
        try:
            m.Item('a').nam
        except AttributeError as error:
            result = str(error), error.name
    """,
    "missing module attribute": """
        try:
            m.nothing
        except AttributeError as error:
            result = str(error)
    """,
    "delattr": """
        i = m.Item('a')
        i.extra = 5
        del i.extra
        result = hasattr(i, 'extra')
    """,
    "class method from instance": """
        result = m.Point3.origin(), m.Point3(1).origin(), m.Point.distance(m.Point(0), m.Point(3, 4))
        result = [repr(x) for x in result], type(m.Point3.origin()) is m.Point3
    """,
    "unbound method": """
        result = m.Point.__repr__(m.Point(1, 2)), m.Point3.size3(m.Point3(3, 4)), list(map(m.Point3.size3, [m.Point3(0, 1), m.Point3(0, 2)]))
    """,
    "pprint": """
        import pprint
        result = pprint.pformat(m.Item('a')), pprint.pformat([m.Point(1, 2)]), pprint.pformat({'b': m.Item('x'), 'a': 1})
    """,
    "pprint of containers": """
        import pprint
        d = m.Bag(b=1, a=2)
        result = pprint.pformat(m.collections.OrderedDict(a=1)), pprint.pformat(m.collections.Counter('aab'))
    """,
    "sorted, min and max compare objects and call keys": """
        ps = [m.Point(3), m.Point(1), m.Point(2)]
        result = [p.x for p in sorted(ps)], [p.x for p in sorted(ps, key=lambda p: -p.x)], max(ps).x, min(ps, key=lambda p: p.x).x, [p.x for p in sorted(ps, reverse=True)]
    """,
    "sort items by remote key": """
        ps = [m.Item('b', 2.0), m.Item('a', 3.0)]
        ps.sort()
        result = [i.name for i in ps], sum(i.price for i in ps)
    """,
    "sorted with remote function": """
        result = sorted(['b', 'A', 'c'], key=m.functools.partial(str.lower))
    """,
    "remote sort with host key": """
        l = m.collections.UserList([3, -2, 1])
        l.sort(key=lambda v: abs(v))
        result = list(l)
    """,
    "zip map enumerate": """
        a = np.arange(3)
        result = list(zip(a, 'abc')), list(map(int, a)), list(enumerate(m.Point(4, 5))), dict(zip('xy', m.Point(1, 2))), list(filter(None, m.Point(0, 2))), any(m.Point(0, 0)), all(m.Point(1, 1)), sum(m.Point(3, 4))
    """,
    "f-strings format with specs": """
        p = m.Point(1.2345, 2)
        a = np.float64(3.14159)
        result = f'{p:.1f} {p!r} {p!s} {a:.2f} {a:>10.3f} {p}', '{:.2f}'.format(p), format(p, '05.1f'), '{0.x:.1f} {0[1]}'.format(p), '%s %r' % (p, p), '%d' % m.Index(3), '%.1f' % np.float64(2.25)
    """,
    "f-string of arrays": """
        a = np.arange(3)
        result = f'{a}', f'{a!r}', str(a), '%s' % a, f'{pd.Series([1]).sum():03d}'
    """,
    "format of datetimes": """
        t = pd.Timestamp('2024-05-06 07:08')
        result = f'{t:%d.%m.%Y %H:%M}', f'{t}', t.strftime('%Y')
    """,
    "match takes classes apart": """
        def kind(thing):
            match thing:
                case m.Point3(x=0): return 'space zero'
                case m.Point(0, y): return f'on y {y}'
                case m.Point(x, y) if x == y: return 'diagonal'
                case m.Point(): return 'point'
                case m.Colour.RED: return 'red'
                case m.Item(name='a'): return 'item a'
                case m.Item(name, price): return f'item {name} {price}'
                case m.Pair(left, right): return f'pair {left} {right}'
                case {'k': v, **rest}: return f'map {v} {len(rest)}'
                case [first, *others]: return f'seq {first} {len(others)}'
                case str(): return 'str'
                case float(): return 'float'
                case _: return 'other'
        result = [kind(t) for t in (m.Point3(0), m.Point(0, 5), m.Point(2, 2), m.Point(1, 2), m.Colour.RED, m.Colour.BLUE, m.Item('a'), m.Item('b'), m.Bag(k=1, j=2), m.collections.deque([1, 2, 3]), m.collections.UserList([5, 6]), m.Pair(1, 2), 's', np.float64(3))]
    """,
    "isinstance with ABCs": """
        import collections.abc as c, numbers, types
        things = [m.Bag(a=1), m.collections.deque([1]), m.countdown(3), m.Point(1), m.Index(3), m.add, m.collections.UserList(), m.collections.UserDict(), m.collections.Counter(), np.arange(3), pd.Series([1]), pd.DataFrame(), np.float64(1), np.int64(1), m.Item('a'), m.noted(print)]
        kinds = [c.Hashable, c.Iterable, c.Iterator, c.Generator, c.Sized, c.Container, c.Collection, c.Mapping, c.MutableMapping, c.Sequence, c.MutableSequence, c.Set, c.Callable, c.Reversible, numbers.Number, numbers.Integral, numbers.Real, dict, list, types.GeneratorType, types.FunctionType]
        import contextlib, typing, os
        kinds += [contextlib.AbstractContextManager, typing.SupportsInt, typing.SupportsFloat, typing.SupportsIndex, os.PathLike]
        names = 'Bag deque gen Point Index add UserList UserDict Counter ndarray Series DataFrame float64 int64 Item noted'.split()
        result = [(n, [k.__name__ for k in kinds if isinstance(t, k)]) for n, t in zip(names, things)]
    """,
    "remote abc": """
        s = m.Square(3)
        result = isinstance(s, m.Shape), issubclass(m.Square, m.Shape), s.area(), m.Square.known, isinstance(3, m.Shape)
    """,
    "abstract cannot be made": """
        try:
            m.Shape()
        except TypeError as error:
            result = str(error)
    """,
    "enum": """
        result = m.Colour.RED.name, m.Colour(2) is m.Colour.BLUE, m.Colour['RED'].value, [c.name for c in m.Colour], len(m.Colour), m.Colour.RED == m.Colour.RED, m.Colour.RED is m.Colour.RED, m.Colour.RED in m.Colour, {m.Colour.RED: 1}[m.Colour(1)], str(m.Colour.RED), isinstance(m.Colour.RED, m.Colour)
    """,
    "int flag": """
        f = m.Flags.R | m.Flags.W
        result = int(f), m.Flags.R in f, f & 2 == 2, f == 6, isinstance(f, int), f + 1
    """,
    "dataclass": """
        i = m.Item('a', tags=['x'])
        import dataclasses
        result = repr(i), i == m.Item('a', 1.0, ['x']), i < m.Item('b'), dataclasses.is_dataclass(i), [f.name for f in dataclasses.fields(i)], dataclasses.asdict(i)
    """,
    "dataclass replace": """
        import dataclasses
        i = dataclasses.replace(m.Item('a'), price=3.0)
        result = repr(i)
    """,
    "namedtuple": """
        p = m.Pair(1)
        result = p.left, p.right, tuple(p), p._asdict(), p._replace(left=7), [*p], repr(p), isinstance(p, tuple), m.Pair._fields, p == (1, 5), p._make([3, 4]), m.Pair._make([3, 4]).left
    """,
    "copy and deepcopy copy there": """
        import copy
        i = m.Item('a', tags=[1])
        s, d = copy.copy(i), copy.deepcopy(i)
        i.tags.append(2)
        result = list(s.tags), list(d.tags), s == i, d == i, type(d) is m.Item
    """,
    "deepcopy of host container": """
        import copy
        i = m.Item('a', tags=[1])
        c = copy.deepcopy({'k': [i, i]})
        result = c['k'][0] is not i, c['k'][0] == i, c['k'][0] is c['k'][1]
    """,
    "copy of arrays": """
        import copy
        a = np.arange(3)
        b = copy.copy(a)
        c = copy.deepcopy(a)
        b[0] = 9
        result = a, b, c
    """,
    "weak references, proxies, dictionaries and sets": """
        import weakref, gc
        i = m.Item('a'); p = m.Point(1)
        r = weakref.ref(i); q = weakref.proxy(p)
        keyed = weakref.WeakKeyDictionary({p: 1}); valued = weakref.WeakValueDictionary(a=i); s = weakref.WeakSet([p])
        gone = []
        weakref.finalize(i, gone.append, 1)
        before = (r() is i, q.x, keyed[p], valued['a'] is i, p in s, len(keyed))
        del i, p; gc.collect()
        result = before, r(), len(keyed), len(valued), len(s), gone
    """,
    "objects are keys of dicts and members of sets": """
        d = {m.Point(1, 2): 'a', m.Colour.RED: 'b', m.Index(3): 'c', m.Point: 'k', m.add: 'f'}
        result = d[m.Point(1, 2)], d[m.Colour.RED], d.get(m.Point(9)), len({m.Point(1), m.Point(1), m.Point(2)}), hash(m.Point(1, 2)) == hash((1, 2)), hash(m.Index(1)), d[m.Point], d[m.add], m.Point(1, 2) in [m.Point(1, 2)]
    """,
    "unhashable": """
        result = []
        for thing in (m.Item('a'), m.Bag(), {1: m.Point(1)}):
            try:
                hash(thing)
            except TypeError as error:
                result.append(str(error))
    """,
    "partial": """
        import functools
        f = functools.partial(m.add, 1, d=4)
        g = functools.partialmethod
        result = f(2), f(2, 3), f.args, functools.partial(m.Point, y=3)(1).y, functools.partial(np.sum, axis=0)([[1, 2], [3, 4]]).tolist()
    """,
    "lru_cache": """
        import functools
        f = functools.lru_cache(m.Point.distance)
        p, q = m.Point(0), m.Point(3, 4)
        result = f(p, q), f(p, q), f.cache_info().hits
        g = functools.cache(m.Point.origin)
        result += (g() is g(),)
    """,
    "functools.wraps copies name and text": """
        import functools
        @functools.wraps(m.add)
        def w(*a, **k): return m.add(*a, **k)
        result = w.__name__, w.__doc__, w(1, d=2)
    """,
    "reduce": """
        import functools
        result = functools.reduce(lambda p, q: p + q, [m.Point(1), m.Point(2, 5)]).y, functools.reduce(np.add, [1, 2, 3]), functools.reduce(np.maximum, [np.arange(3), np.array([2, 0, 0])])
    """,
    "singledispatch": """
        import functools
        @functools.singledispatch
        def f(x): return 'any'
        @f.register(m.Point)
        def _(x): return 'point'
        @f.register(dict)
        def _(x): return 'dict'
        result = f(m.Point(1)), f(m.Point3(1)), f(3), f(m.Bag())
    """,
    "an ExitStack enters and leaves in order": """
        import contextlib
        log = []
        with contextlib.ExitStack() as stack:
            v = stack.enter_context(m.noted(log.append))
            stack.enter_context(m.noted(log.append, True))
            stack.callback(log.append, 'called')
            raise KeyError(1)
        result = v, log
    """,
    "contextmanager swallow": """
        log = []
        with m.noted(log.append, swallow=True) as v:
            raise KeyError('k')
        try:
            with m.noted(log.append):
                raise KeyError('k')
        except KeyError as error:
            log.append(error.args)
        result = v, log
    """,
    "context manager as decorator": """
        log = []
        @m.noted(log.append)
        def f(): return 5
        result = f(), f(), log
    """,
    "closing and suppress": """
        import contextlib
        log = []
        g = m.closing(log.append)
        with contextlib.closing(g): next(g)
        with contextlib.suppress(ZeroDivisionError): m.add(1, d=1) / 0
        result = log
    """,
    "send, throw, close and the value of a generator": """
        log = []
        g = m.countdown(3); first = next(g), g.send(10), g.send(20)
        try:
            g.send(30)
        except StopIteration as stop:
            value = stop.value
        c = m.closing(log.append); a = next(c), c.throw(ValueError('boo'))
        c.close()
        result = first, value, a, log, list(m.countdown(2)), next(m.countdown(0), 'empty')
    """,
    "yield from keeps the value": """
        def outer():
            value = yield from m.countdown(2)
            yield ('value', value)
        g = outer()
        result = [next(g), g.send(5), g.send(7)]
    """,
    "generator over host generator": """
        def numbers():
            yield 1
            yield 2
        result = list(m.functools.reduce(lambda a, b: a + [b], numbers(), []))
    """,
    "itertools": """
        import itertools
        a = np.arange(4)
        result = list(itertools.chain(m.Point(1, 2), a)), list(itertools.islice(m.countdown(5), 2)), [len(list(g)) for k, g in itertools.groupby([m.Point(1), m.Point(1), m.Point(2)])], list(itertools.pairwise(m.Point(1, 2))), [i.item() for i in itertools.accumulate(a)], list(itertools.product(m.Point(1, 2), repeat=2))[1], next(itertools.tee(m.countdown(2))[1])
    """,
    "the functions of operator": """
        import operator as o
        p = m.Point(3, 4); b = m.Bag(k=1)
        result = [o.attrgetter('x', 'y')(p), o.itemgetter(0, 1)(p), o.methodcaller('size3')(m.Point3(3, 4)), o.add(p, p).x, o.contains(p, 3), o.index(m.Index(3)), o.length_hint(p), o.truth(p), o.not_(p), o.neg(p).x, o.abs(p), o.mul(p, 2).y, o.getitem(p, 1), o.eq(p, m.Point(3, 4)), o.is_(p, p), o.lt(p, m.Point(9, 9)), o.countOf(p, 3), o.indexOf(p, 4), o.call(p, 2), o.iadd(m.Point(1), p).x]
        o.setitem(b, 'z', 5); o.delitem(b, 'k'); result.append(dict(b)); result.append(o.attrgetter('denominator')(3)); result.append(o.concat([1], [2]))
    """,
    "int, float, index and range take numbers": """
        import math
        i = m.Index(3)
        result = int(i), float(i), complex(i), range(10)[i], [0, 1, 2, 3][i], list(range(m.Index(2), i)), 'abcdef'[i], [1, 2, 3, 4][:i], hex(i), math.floor(i), math.ceil(i), math.trunc(i), math.sqrt(i), b'x' * i, [0] * i, chr(m.Index(65)), round(3.14159, i), math.gcd(i, 9), bytes(i), divmod(m.Point(7), 2), pow(2, int(i)), (1).__add__(int(i))
    """,
    "rounding": """
        p = m.Point(1.26, 2.5)
        result = round(p).x, round(p, 1).x, abs(m.Point(3, 4)), (-m.Point(1)).x, (3 * m.Point(1)).x
    """,
    "bytes": """
        result = bytes(m.Point(1, 2)), bytes(np.arange(3, dtype='i2')), bytes(m.collections.deque([1, 2])), bytearray(np.arange(2, dtype='u1'))
    """,
    "paths": """
        import os, pathlib
        result = os.fspath(m.Index(3)), str(pathlib.Path(m.Index(4))), os.path.join('/a', m.Index(5)), os.path.basename(m.Index(6))
    """,
    "stars unpack sequences and mappings": """
        def f(*a, **k): return a, k
        d = m.Bag(a=1, b=2); x, y = m.Point(1, 2); a, *r = np.arange(4); result = f(*m.Point(1, 2), **d), {**d, 'c': 3}, [*m.Point(5, 6), *d], x, y, r, (lambda x, y: x - y)(*m.Point(5, 3)), {*m.Point(1, 1)}
    """,
    "dict of remote": """
        d = m.Bag(a=1, b=2)
        result = dict(d), dict(d.items()), list(d), list(d.keys()), list(d.values()), 'a' in d, 'a' in d.keys(), ('a', 1) in d.items(), d['z'], d.get('z', 0), len(d), d == {'a': 1, 'b': 2}, {'a': 1, 'b': 2} == d, d | {'c': 3}, {'c': 3} | d, sorted(d, key=d.get), max(d, key=d.get), dict(d, q=1), {}.update(d), list(reversed(d)), d.keys() & {'a'}
    """,
    "dict update from remote": """
        h = {'x': 1}
        h.update(m.Bag(a=1))
        h |= m.Bag(b=2)
        import collections
        cm = collections.ChainMap(m.Bag(k=1), {})
        cn = collections.Counter(m.Bag(a=2))
        result = h, cm['k'], cn, {**m.collections.Counter('aab')}
    """,
    "list ops": """
        l = m.collections.UserList([3, 1, 2])
        n = m.collections.deque([1, 2])
        h = [0]
        h.extend(n)
        h += n
        h[1:2] = n
        result = h, list(reversed(l)), l[::-1] == [2, 1, 3], 3 in l, l.index(1), sorted(l), l + [1] == [3, 1, 2, 1], l * 2 == [3, 1, 2] * 2, len(l), l[-1], l[0:2] == [3, 1], [*l], max(l), sum(l), ','.join(map(str, l)), list(n), n[0], n == m.collections.deque([1, 2])
    """,
    "join remote strings": """
        s = m.collections.UserString('abc')
        result = s + 'd' == 'abcd', str(s), s.upper() == 'ABC', 'x' + s == 'xabc', len(s), s[0] == 'a', 'b' in s, ' '.join([str(s), 'y']), s == 'abc'
    """,
    "in-place operators change the object itself": """
        p = q = m.Point(1, 2)
        p += m.Point(1, 1)
        l = k = m.collections.deque([1])
        l += [2]
        a = b = np.arange(3)
        a += 1
        a *= 2
        a[0] += 5
        c = m.collections.Counter('a')
        c += m.collections.Counter('b')
        c['z'] += 3
        d = m.Bag()
        d |= {'k': 1}
        d['k'] += 1
        i = m.Item('a')
        i.price += 2
        i.tags += [1]
        i.tags.append(2)
        result = p is q, p.x, l is k, list(l), a is b, a, dict(c), dict(d), i.price, list(i.tags)
    """,
    "reflected": """
        result = (2 * m.Point(1, 2)).y, [1, 2] + np.array([1, 2]), 1 - np.arange(2), 2 ** np.arange(3), 5 // np.array([2]), divmod(7, np.array([2]))[1], [1] + list(m.collections.deque([2])), 1 < np.array([0, 2]), 'a' + pd.Series(['x']), (1, 2) + np.array([1, 1])
    """,
    "unsupported operands": """
        result = []
        for f in (lambda: m.Item('a') + 1, lambda: 1 + m.Item('a'), lambda: m.Item('a') < 3, lambda: m.Item('a')[0], lambda: len(m.Item('a')), lambda: iter(m.Item('a')), lambda: m.Item('a')(), lambda: m.Item('a') @ 1, lambda: -m.Item('a'), lambda: int(m.Item('a')), lambda: 'x' in m.Item('a'), lambda: [1][m.Item('a')], lambda: next(m.Point(1))):
            try:
                result.append(f())
            except TypeError as error:
                result.append(str(error))
    """,
    "comparison": """
        i = m.Item('a')
        result = i == m.Item('a'), i != 3, i == None, i is None, m.Point(1) == 'x', m.Point(1) != m.Point(2), m.Point(1) < m.Point(2), m.Point(2) > m.Point(1), None == m.Point(1)
    """,
    "truth": """
        result = bool(m.Point(0, 0)), not m.Point(1), bool(m.Bag()), bool(m.Item('a')), [] or m.Point(0), 1 if m.collections.deque() else 2
        result = [bool(x) for x in result]
    """,
    "ambiguous truth": """
        result = []
        for thing in (np.arange(3), pd.DataFrame(), pd.Series([1, 2])):
            try:
                bool(thing)
            except ValueError as error:
                result.append(str(error)[:60])
    """,
    "getattr hook and chain": """
        c = m.Chain()
        c.a.b.c
        c[1] = 2
        c['x', 1:2] = 3
        del c[5]
        result = list(c.calls)
    """,
    "setattr getattr": """
        i = m.Item('a')
        setattr(i, 'name', 'b')
        result = getattr(i, 'name'), hasattr(i, 'nope'), hasattr(i, 'name'), i.__dict__['name']
    """,
    "dict write through": """
        i = m.Item('a')
        i.__dict__['name'] = 'c'
        vars(i)['price'] = 9
        result = i.name, i.price
    """,
    "type() as constructor": """
        p = m.Point3(1, 2)
        q = type(p)(5, 6)
        r = p.__class__(7)
        result = q.x, r.x, type(q) is m.Point3
    """,
    "class as value": """
        kinds = {'p': m.Point, 's': m.Point3}
        result = [kinds[k](1).x for k in kinds], str(m.Point)
    """,
    "class repr": """
        result = repr(m.Point), str(m.Item), repr(m.Colour.RED), f'{m.Point}'
    """,
    "object repr default": """
        import re
        result = re.sub('0x[0-9a-f]+', '', repr(m.Trap())), re.sub('0x[0-9a-f]+', '', repr(m.add)), re.sub('0x[0-9a-f]+', '', repr(m.countdown(1))), re.sub('0x[0-9a-f]+', '', repr(m.Point(1).origin))
    """,
    "print": """
        import io, contextlib
        f = io.StringIO()
        with contextlib.redirect_stdout(f): print(m.Point(1), np.arange(2), pd.Series([1]), sep='|', end='.')
        result = f.getvalue()
    """,
    "json": """
        import json
        result = json.dumps({'a': m.Bag(b=1)}, default=dict), json.dumps(np.float64(1.5))
    """,
    "string join of remote list": """
        result = ', '.join(m.Item('a', tags=['x', 'y']).tags)
    """,
    "bisect and heapq": """
        import bisect, heapq
        l = m.Item('a', tags=[1, 3, 5]).tags
        h = [m.Point(3), m.Point(1)]
        heapq.heapify(h)
        result = bisect.bisect(l, 3), heapq.heappop(h).x, heapq.nsmallest(1, l), heapq.nlargest(2, np.arange(5))
    """,
    "random on remote list": """
        import random
        random.seed(1)
        l = m.Item('a', tags=list(range(10))).tags
        random.shuffle(l)
        result = list(l), random.choice(l), random.sample(list(l), 2)
    """,
    "statistics": """
        import statistics
        result = statistics.mean(np.array([1.0, 2.0])), statistics.median(m.Item('a', tags=[3, 1, 2]).tags), statistics.mean([np.float64(1), 2])
    """,
    "math": """
        import math
        result = math.fsum(np.array([0.1] * 10)), math.dist(m.Point(0, 0), m.Point(3, 4)), math.hypot(*m.Point(3, 4)), math.prod(np.arange(1, 5)), math.isclose(np.float64(1), 1.0), math.sqrt(np.array(4.0)), float(np.array([2.5])[0]), int(np.array(3)), complex(np.array(1.0))
    """,
    "textwrap re csv": """
        import re, csv, io
        s = pd.Series(['a1', 'b2'])
        out = io.StringIO()
        w = csv.writer(out)
        w.writerow(m.Point(1, 2))
        w.writerow(np.arange(2))
        w.writerows(pd.DataFrame({'a': [1]}).values)
        result = [re.sub(r'\\d', '', v) for v in s], out.getvalue()
    """,
    "struct array": """
        import struct, array
        result = struct.pack('ii', *np.array([1, 2])), struct.pack('i', m.Index(4)), array.array('d', np.arange(2.0)).tolist(), list(array.array('i', m.Point(1, 2)))
    """,
    "datetime": """
        import datetime
        t = pd.Timestamp('2024-01-02')
        result = t.to_pydatetime(), t > datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1) < t, t - datetime.datetime(2024, 1, 1) == datetime.timedelta(days=1), isinstance(t, datetime.datetime), t.year, t + datetime.timedelta(days=1) == pd.Timestamp('2024-01-03'), datetime.timedelta(1) + t == pd.Timestamp('2024-01-03'), t == datetime.datetime(2024, 1, 2), t.date()
    """,
    "threading": """
        import threading
        out = []
        ts = [threading.Thread(target=lambda i=i: out.append(m.Point(i).x)) for i in range(4)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        result = sorted(out)
    """,
    "thread pool": """
        import concurrent.futures as c
        with c.ThreadPoolExecutor(3) as pool: result = list(pool.map(lambda i: m.Point(i, 1).size, range(5))), pool.submit(m.add, 1, d=2).result(), list(pool.map(m.functools.partial(m.add, d=1), [1, 2]))
    """,
    "exceptions of np": """
        result = []
        for f in (lambda: np.zeros(3)[5], lambda: np.zeros((2, 3)) @ np.zeros(2), lambda: pd.DataFrame({'a': [1]})['b'], lambda: m.Bag().pop('x'), lambda: m.Colour(9), lambda: m.add(), lambda: m.Point(), lambda: m.Point(1).distance(1, 2), lambda: np.array([1]).nothing, lambda: pd.to_datetime('xx'), lambda: m.Item(), lambda: m.Item('a').tags[3], lambda: np.arange(3).reshape(2, 2)):
            try:
                result.append(f())
            except Exception as error:
                result.append((type(error).__name__, str(error).splitlines()[0], isinstance(error, (ValueError, LookupError, TypeError, AttributeError))))
    """,
    "exception attributes": """
        try:
            m.Bag().pop('x')
        except KeyError as error:
            a = error.args
        try:
            np.zeros(2)[7]
        except IndexError as error:
            b = error.args
        try:
            {}[m.Point(1, 2)]
        except KeyError as error:
            c = error.args[0].x
        result = a, b, c
    """,
    "exception groups and raise from": """
        try:
            try:
                m.Bag().pop('x')
            except KeyError as error:
                raise ValueError('outer') from error
        except ValueError as error:
            result = type(error.__cause__).__name__, error.__cause__.args
    """,
    "assert methods": """
        import unittest
        t = unittest.TestCase()
        t.assertEqual(m.Point(1), m.Point(1)); t.assertIn(1, m.Point(1)); t.assertIsInstance(m.Point(1), m.Point); t.assertAlmostEqual(np.float64(1), 1.0); t.assertDictEqual(dict(m.Bag(a=1)), {'a': 1}); t.assertListEqual(list(m.Point(1, 2)), [1, 2]); t.assertTrue(np.array([1, 1]).all()); t.assertCountEqual(m.Point(1, 2), [2, 1])
        with t.assertRaises(KeyError): m.Bag().pop('x')
        with t.assertRaisesRegex(ValueError, 'reshape'): np.arange(3).reshape(2, 2)
        result = 1
    """,
    "callbacks": """
        log = []
        result = pd.Series([1, 2]).map(lambda v: log.append(v) or v * 2).tolist(), log, list(map(m.Point, [1, 2]))[1].x, np.apply_along_axis(lambda r: r.sum(), 0, np.eye(2)), m.functools.reduce(lambda a, b: a + b, [1, 2, 3])
    """,
    "host object as argument": """
        class Mine:
            def __init__(self): self.x, self.y = 3, 4
        result = m.Point.distance(Mine(), m.Point(0)), m.Point(1) + Mine() is not None
    """,
    "host mutable object as argument": """
        class Mine:
            def __init__(self): self.seen = []
        mine = Mine()
        i = m.Item('a', tags=mine.seen)
        i.tags.append(1)
        result = list(i.tags)
    """,
    "multiple assignment": """
        a = b = np.zeros(2)
        a[0], a[1] = a[1] + 1, a[0]
        (p, q), r = (m.Point(1, 2), 3)
        result = a, b, p, q
        i = m.Item('a')
        i.name, i.price = 'z', 3.0
        result += (i.name, i.price)
    """,
    "walrus comprehension": """
        result = [y for x in m.Point(1, 2) if (y := x * 2) > 2], {k: v for k, v in m.Bag(a=1).items()}, {x for x in m.Point(1, 1)}, list(x for x in m.countdown(2)), [[j for j in range(i)] for i in m.Point(1, 2)], [x for row in np.eye(2) for x in row]
    """,
    "for else while": """
        n = 0
        for x in m.countdown(3):
            n += x
        else:
            n += 100
        it = iter(m.Point(1, 2))
        while (v := next(it, None)) is not None: n += v
        result = n, [v for v in iter(m.collections.deque([1, 2, 0]).popleft, 0)]
    """,
    "del": """
        d = m.Bag(a=1, b=2)
        del d['a']
        l = m.Item('a', tags=[1, 2, 3]).tags
        del l[0], l[-1:]
        df = pd.DataFrame({'a': [1], 'b': [2]})
        del df['a']
        result = dict(d), list(l), list(df.columns)
    """,
    "slices": """
        a = np.arange(10)
        l = m.Item('a', tags=list(range(6))).tags
        l[1:3] = [9]
        result = a[2:8:2], a[::-1][:2], a[slice(1, 3)], a[..., 0], a[None].shape, a[[1, 2]], a[a > 7], list(l), l[-2:] == [4, 5]
    """,
    "property like subscripts": """
        df = pd.DataFrame({'a': [1, 2]}, index=['x', 'y'])
        df.loc['x', 'a'] = 9
        df.a += 1
        df['b'] = df.a > 5
        df.iloc[0, 0] -= 1
        result = df
    """,
    "np.testing": """
        a = np.arange(3.0)
        np.testing.assert_allclose(a, [0, 1, 2]); np.testing.assert_array_equal(a, a.copy()); np.testing.assert_equal({'a': a}, {'a': a}); np.testing.assert_almost_equal(a[1], 1.0)
        try:
            np.testing.assert_allclose(a, a + 1)
        except AssertionError as error:
            result = str(error)
        with np.testing.assert_raises(ValueError): a.reshape(2)
    """,
    "interop with the other side's numpy": """
        import numpy as hn
        a = np.arange(4.0); h = hn.arange(4.0)
        result = [hn.asarray(a), hn.array([a, a]), h + a, a + h, h @ a, hn.array(a)[1], hn.asarray(a, dtype=int), list(hn.asarray(a)), h[np.array([0, 1])], h[a > 1], hn.allclose(h, a), hn.float64(2) * a, a * hn.float64(2), hn.add(h, a), hn.sum(a), hn.concatenate([h, a]), hn.sin(a), hn.mean(a), hn.isscalar(a[0]), hn.issubdtype(a.dtype, hn.floating), a.dtype == h.dtype, hn.shape(a), hn.where(a > 1, h, a), hn.stack([a, h]), hn.max(a), h.dot(a), hn.dot(h, a)]
    """,
    "interop in place": """
        import numpy as hn
        h = hn.arange(3.0)
        h += np.ones(3)
        h[0] = np.float64(5)
        h[1:] = np.zeros(2)
        result = h
    """,
    "interop testing": """
        import numpy as hn
        a = np.arange(3.0)
        hn.testing.assert_allclose(a, [0, 1, 2])
        hn.testing.assert_array_equal(a, hn.arange(3.0))
        hn.testing.assert_equal(a, hn.arange(3.0))
        result = 1
    """,
    "interop with the other side's pandas": """
        import pandas as hp
        s = hp.Series(np.arange(3))
        d = hp.DataFrame({'a': np.arange(2)})
        result = s, d, d['a'] + np.ones(2)
    """,
    "interop pandas arguments": """
        import pandas as hp
        h = hp.DataFrame({'a': [1, 2]})
        result = pd.concat([pd.DataFrame({'a': [0]}), h], ignore_index=True), pd.DataFrame({'k': [1]}).merge(hp.DataFrame({'k': [1], 'v': [2]}))
    """,
    "np random global": """
        np.random.seed(3)
        a = np.random.rand(2)
        s = np.random.get_state()[0]
        result = a, s, np.random.default_rng(1).normal(size=2)
    """,
    "np constants": """
        result = np.pi, np.nan != np.nan, np.inf, np.newaxis, np.e, np.float32, np.int_, np.dtype('f4'), np.__version__
        result = result[:5] + (str(result[7]), result[8])
    """,
    "np types as dtype": """
        result = np.zeros(2, dtype=np.int32), np.zeros(2, int), np.array(['a']).dtype.kind, np.array([1.5], dtype='f4').dtype.name, np.dtype(np.int8).itemsize, np.ones(1, bool), np.array([object()], object).dtype == object, np.float32(1.5), isinstance(np.float32(1), np.floating), isinstance(np.int64(1), np.integer)
    """,
    "list of remote into np": """
        l = m.Item('a', tags=[1, 2, 3]).tags
        result = np.array(l), np.array(m.Point(1, 2)), np.array(list(m.countdown(2))), np.fromiter(m.countdown(3), int), pd.Series(l), pd.DataFrame([vars(m.Item('q'))])
    """,
    "host iterators as arguments": """
        result = np.fromiter((x * 2 for x in range(3)), dtype=int), pd.Series(range(3)), m.collections.deque(iter([1, 2])), m.collections.Counter(x for x in 'aab'), pd.DataFrame(zip([1, 2], 'ab')), sorted(m.collections.Counter(map(str.upper, 'ab')))
    """,
    "host dict views as arguments": """
        d = {'a': 1, 'b': 2}
        result = np.array(list(d.values())), list(m.collections.deque(d.keys())), list(m.collections.deque(d.values())), list(m.collections.deque(d.items())), pd.Series(d.values(), index=d.keys()).tolist()
    """,
    "enumerate and reversed as arguments": """
        result = list(m.collections.deque(enumerate('ab'))), list(m.collections.deque(reversed([1, 2]))), list(m.collections.deque(filter(None, [0, 1]))), list(m.collections.deque(open('/etc/hostname'))) != []
    """,
    "open file as argument": """
        import tempfile, os
        with tempfile.NamedTemporaryFile('w', suffix='.csv', delete=False) as f: f.write('a,b\\n1,2\\n')
        with open(f.name) as g: result = pd.read_csv(g)
        os.unlink(f.name)
    """,
    "open binary file as argument": """
        import tempfile
        with tempfile.TemporaryFile() as f:
            np.save(f, np.arange(3)); f.seek(0); result = np.load(f)
    """,
    "pathlib as argument": """
        import pathlib, tempfile
        with tempfile.TemporaryDirectory() as d:
            p = pathlib.Path(d) / 'x.csv'; pd.DataFrame({'a': [1]}).to_csv(p, index=False); result = p.read_text(), pd.read_csv(p), sorted(q.name for q in pathlib.Path(d).iterdir())
    """,
    "stringio read and written": """
        import io
        s = io.StringIO('a\\n1\\n')
        df = pd.read_csv(s)
        out = io.StringIO()
        df.to_csv(out)
        b = io.BytesIO()
        df.to_pickle(b)
        result = df, s.read(), out.getvalue(), len(b.getvalue()) > 100
    """,
    "isinstance remote builtins": """
        result = isinstance(m.Item('a').tags, list), isinstance(m.Bag(), dict), isinstance(m.collections.OrderedDict(), dict)
    """,
    "iter twice and len": """
        l = m.Item('a', tags=[1, 2]).tags
        it = iter(l)
        result = list(it), list(it), list(l), len(list(l)), it is iter(it)
    """,
    "mutate while iterating": """
        l = m.Item('a', tags=[1, 2, 3]).tags
        seen = []
        for x in l:
            seen.append(x)
            if x == 1: l.remove(2)
        result = seen, list(l)
    """,
    "dict changed while iterating": """
        d = m.Bag(a=1, b=2)
        try:
            for k in d: d[k + 'x'] = 1
            result = 'no error'
        except RuntimeError as error:
            result = str(error)
    """,
    "nested containers": """
        b = m.Bag(k={'l': [1, {'z': 2}]})
        b['k']['l'][1]['z'] = 5
        b['k']['l'].append(3)
        x = b['k']['l']
        x[0] = 9
        result = dict(b)['k']['l'][1]['z'], b['k']['l'][0], len(x)
    """,
    "string formatting of nested": """
        result = str(m.Bag(a=[1])), repr([m.Point(1), m.Bag(b=2)]), str({'k': m.Point(1)})
    """,
    "set ops": """
        s = {m.Colour.RED, m.Colour.BLUE}
        t = m.Item('a', tags={1, 2, 3}).tags
        result = m.Colour.RED in s, t & {1, 9}, {1, 9} & t, t | {7}, {7} | t, {1, 2} - t, t - {1}, t >= {1}, {1} <= t, t ^ {1, 5}, t == {1, 2, 3}, {1, 2, 3} == t, sorted(t), {1, 5}.union(t), {1}.issubset(t), set(t), frozenset(t), t.isdisjoint([9])
    """,
    "super and inheritance here of plain classes": """
        class Host:
            def __init__(self): self.p = m.Point(1, 2)
            def __getattr__(self, n): return getattr(self.p, n)
        result = Host().x, Host().size
    """,
    "dataclass with remote fields": """
        import dataclasses
        @dataclasses.dataclass
        class D:
            p: object
            a: list = dataclasses.field(default_factory=list)
        d = D(m.Point(1)); result = repr(d), d == D(m.Point(1)), dataclasses.asdict(d)['a'], dataclasses.replace(d, a=[1]).a
    """,
    "typing annotations": """
        import typing
        def f(x: m.Point, y: 'np.ndarray' = None) -> m.Point3 | None: return x
        T = typing.Optional[m.Point]; L = list[m.Point]; D = dict[str, np.ndarray]; U = m.Point | int; result = f(m.Point(1)).x, typing.get_type_hints(f, {'np': np, 'm': m})['x'] is m.Point, isinstance(m.Point(1), m.Point | int), isinstance(3, U), typing.get_args(L)[0] is m.Point
    """,
    "isinstance tuple": """
        result = isinstance(m.Point(1), (int, m.Point)), isinstance(3, (m.Point, int)), isinstance(m.Point(1), (int, str)), isinstance(np.arange(2), np.ndarray), isinstance(pd.DataFrame(), pd.DataFrame), isinstance([1], (np.ndarray, list))
    """,
    "raise remote exception class": """
        try:
            raise np.linalg.LinAlgError('mine')
        except np.linalg.LinAlgError as error:
            result = str(error), isinstance(error, ValueError), error.args
    """,
    "except tuple": """
        try:
            pd.DataFrame({'a': [1]}).merge(pd.DataFrame({'b': [1]}))
        except (np.linalg.LinAlgError, pd.errors.MergeError) as error:
            result = str(error).splitlines()[0]
    """,
    "ipython pretty": """
        from IPython.lib.pretty import pretty
        result = pretty(m.Point(1)), pretty([m.Item('a')]), pretty({'a': np.arange(3)}), pretty(m.Bag(a=1)), pretty(m.Item('a', tags=[1]).tags)
    """,
    "ipython display formatter": """
        from IPython.core.formatters import DisplayFormatter
        from IPython.core.interactiveshell import InteractiveShell
        f = InteractiveShell.instance().display_formatter
        d, md = f.format(pd.DataFrame({'a': [1]}))
        result = sorted(d), d['text/plain'], d['text/html']
    """,
    "format mini": """
        result = '{:>8}|{:<6}|{!r:^9}'.format(str(m.Point(1)), np.int64(3), m.Colour.RED), f'{np.int64(5):03d}', f'{pd.Timestamp(0):%Y}', f"{pd.Series([1.5]).mean():.2%}"
    """,
    "sum with start": """
        result = sum([m.Point(1, 2), m.Point(3, 4)], m.Point(0, 0)).x, sum(np.arange(4)), sum([np.arange(2), np.arange(2)]), sum(pd.Series([1, 2]))
    """,
    "min max default": """
        result = max(np.array([1, 5, 2])), min(m.countdown(3)), max(m.Bag(), default='none'), max(m.Point(1), m.Point(2)).x, max(pd.Series([1, 9]))
    """,
    "string methods with remote": """
        result = 'a-b'.split('-') == m.Item('a', tags=['a', 'b']).tags, 'abc'.startswith(tuple(m.Item('a', tags=['a']).tags)), 'x'.join(str(v) for v in np.arange(2))
    """,
    "chained comparison": """
        result = 0 < np.float64(0.5) < 1, m.Point(1) < m.Point(2) < m.Point(3), 1 in [np.int64(1)], np.int64(1) in {1}
    """,
    "callable class instance in map": """
        result = list(map(m.Point(2, 3), [1, 2])), list(map(np.sqrt, [1.0, 4.0])), list(map(pd.Timestamp, ['2024-01-01']))[0].year
    """,
    "methods as values": """
        l = m.Item('a', tags=[]).tags
        add = l.append
        add(1)
        add(2)
        f = np.arange(3).sum
        bound = m.Point(3, 4).distance
        result = list(l), f(), bound(m.Point(0), m.Point(0, 2)), add == l.append, add.__self__ is l, hash(add) == hash(l.append), add.__name__
    """,
    "functions as dict values and keys": """
        ops = {np.sum: 's', np.mean: 'm'}
        result = ops[np.sum], [f.__name__ for f in ops], [f([1, 2, 3]) for f in (np.sum, np.mean, np.max)]
    """,
    "equality of functions": """
        result = np.sum == np.sum, np.sum is np.sum, m.add is m.add, np.sum == np.mean, m.Point.origin == m.Point.origin
    """,
    "module function attributes": """
        result = np.add.nin, np.add.identity, np.linalg.__name__, m.countdown.__name__, m.add.__defaults__, m.add.__kwdefaults__, m.add.__annotations__, m.add.__module__, m.add.__code__.co_argcount
    """,
    "reassign module attribute": """
        m.Point.unit = 'km'
        m.extra = 5
        result = m.extra, hasattr(m, 'extra')
        del m.extra
        m.Point.unit = 'cm'
        result += (hasattr(m, 'extra'),)
    """,
    "mock.patch replaces and restores": """
        import unittest.mock as um
        with um.patch.object(m, 'add', lambda *a, **k: 42): a = m.add(1)
        with um.patch.object(m.Point, 'unit', 'zz'): b = m.Point(1).unit
        result = a, b, m.add(1, d=1), m.Point.unit
    """,
    "monkeypatch a class method": """
        old = m.Item.__repr__
        m.Item.shout = lambda self: self.name + '!'
        result = m.Item('a').shout()
        del m.Item.shout
        result = result, hasattr(m.Item('a'), 'shout')
    """,
    "setattr host function on instance": """
        i = m.Item('a')
        i.twice = lambda n: n * 2
        result = i.twice(4)
    """,
    "host function identity": """
        def f(): return 1
        i = m.Item('a'); i.f = f; result = i.f is f, i.f()
    """,
    "host list identity": """
        l = [1]
        i = m.Item('a', tags=l)
        result = i.tags == [1]
    """,
    "remote in host set ops": """
        ps = {m.Point(1), m.Point(2)} & {m.Point(2), m.Point(3)}
        result = [p.x for p in ps]
    """,
    "getitem class": """
        result = str(m.collections.OrderedDict[str, int]).startswith('collections.OrderedDict'), m.collections.deque[int] is not None
    """,
    "exec eval with proxies": """
        result = eval('p.x + 1', {'p': m.Point(4)}), eval('a.sum()', {'a': np.arange(3)})
    """,
    "np.save style context": """
        with np.errstate(all='ignore'): result = np.log(np.zeros(1)), np.geterr()['divide']
    """,
    "string templates": """
        import string
        result = string.Template('$x').substitute(x=m.Point(1)), 'Point: {p.x}, {b[a]}'.format(p=m.Point(1), b=m.Bag(a=2)), '{a}'.format_map(m.Bag(a=5)), '%(a)s' % m.Bag(a=3)
    """,
    "contextvar and local": """
        import contextvars
        c = contextvars.ContextVar('c')
        c.set(m.Point(1))
        result = c.get().x
    """,
    "queue": """
        import queue
        q = queue.PriorityQueue()
        q.put((1, m.Point(1)))
        q2 = queue.Queue()
        q2.put(m.Point(2))
        result = q.get()[1].x, q2.get().x
    """,
    "shelve like dict subclass": """
        b = m.Bag()
        b.setdefault('l', []).append(1)
        b['l'].append(2)
        b.update(x=1)
        result = b['l'] == [1, 2], b.pop('x'), sorted(b)
    """,
    "collections on host of remote": """
        import collections
        result = collections.Counter(m.countdown(3)), collections.deque(m.Point(1, 2)), collections.OrderedDict(m.Bag(a=1)), collections.defaultdict(list, m.Bag(k=[1]))['k'] == [1], collections.UserList(m.Item('a', tags=[1]).tags)
    """,
    "type checks by name": """
        result = type(np.arange(2)).__name__, type(pd.DataFrame()).__module__, type(m.add).__name__, type(m.countdown(1)).__name__
    """,
    "int overflow and large": """
        i = m.Item(10 ** 40)
        result = i.name, i.name + 1, m.add(2 ** 70, d=1)
    """,
    "unicode": """
        i = m.Item('żółć 🎉 \\ud800')
        result = i.name, m.Bag({'ключ': 1})['ключ']
    """,
    "kwargs with odd names": """
        def f(**k): return k
        result = m.functools.partial(m.collections.OrderedDict, **{'self': 1})(), m.Bag(name=1, target=2, args=3, kwargs=4, self=5, cls=6)
    """,
    "many arguments": """
        result = len(m.collections.deque(range(5000))), m.add(1, 2, 3, *range(200), d=1)
    """,
    "deep recursion": """
        def f(n): return n if n == 0 else m.functools.reduce(lambda a, b: f(n - 1), [1, 2])
        result = f(10)
    """,
    "return self chaining": """
        df = pd.DataFrame({'a': [3, 1, 2]})
        result = df.sort_values('a').reset_index(drop=True).assign(b=lambda d: d.a * 2).query('b > 2').rename(columns={'b': 'c'}).pipe(lambda d: d[d.c < 6]).c.tolist()
    """,
    "groupby iteration": """
        result = [(k, len(g), g['v'].tolist()) for k, g in pd.DataFrame({'k': list('aab'), 'v': [1, 2, 3]}).groupby('k')], [(i, r.v) for i, r in pd.DataFrame({'v': [1]}).iterrows()]
    """,
    "nditer ndenumerate": """
        a = np.arange(4).reshape(2, 2)
        result = [int(x) for x in np.nditer(a)], [(i, int(v)) for i, v in np.ndenumerate(a)], list(np.ndindex(2, 1)), [int(v) for v in a.flat], [r.tolist() for r in a]
    """,
    "nditer writing": """
        a = np.arange(4)
        with np.nditer(a, op_flags=['readwrite']) as it:
            for x in it: x[...] = 2 * x
        result = a
    """,
    "polynomial object call": """
        p = np.polynomial.Polynomial([1, 2, 3])
        result = p(2), p.deriv()(1), (p + 1).coef, p.coef[0], str(p) != ''
    """,
    "decimals and fractions": """
        import decimal
        result = decimal.Decimal(int(m.Index(3))), decimal.Decimal(str(np.float64(1.5)))
    """,
}


def named(module: Any) -> dict[str, Any]:
    return {"__name__": "__main__", "m": module}


@pytest.fixture(scope="module")
def here() -> Iterator[dict[str, Any]]:
    """Give the names that the pieces use, of this process."""
    spec = importlib.util.spec_from_file_location("things", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["things"] = module
    spec.loader.exec_module(module)
    yield named(module) | {"np": np, "pd": pd}
    del sys.modules["things"]


@pytest.fixture(scope="module")
def there() -> Iterator[dict[str, Any]]:
    """Give the same names, of a companion."""
    with Companion("everyday", preload=("numpy", "pandas")) as companion:
        module = companion.load_module("things", path=str(FILE.parent))
        yield named(module) | {
            name: companion.load_module(full) for name, full in (("np", "numpy"), ("pd", "pandas"))
        }


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.filterwarnings("ignore")
def test_everyday_code_cannot_tell_a_companions_objects_from_its_own(
    piece: str, here: dict[str, Any], there: dict[str, Any]
) -> None:
    code = compile(textwrap.dedent(PIECES[piece]), piece, "exec")
    results = []
    for names in (dict(here), dict(there)):
        exec(code, names)
        results.append(names["result"])
    assert difference(*results) is None
