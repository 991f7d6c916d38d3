"""numpy's functions of this session, called with proxies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from there import There, there_with

from isolate_magic import TransferError, byvalue, isproxy


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("ufuncs", "import numpy as np\nimport pandas as pd") as made:
        yield made


@pytest.fixture(scope="module")
def rnp(there: There) -> Any:
    return there.companion.load_module("numpy")


LOCAL = np.array([[1.0, 4.0, 9.0], [16.0, 25.0, 36.0]])

CALLS = {
    "sqrt": lambda a: np.sqrt(a),
    "add, mixed": lambda a: np.add(a, LOCAL),
    "reduce": lambda a: np.add.reduce(a, axis=1),
    "accumulate": lambda a: np.multiply.accumulate(a, axis=0),
    "outer": lambda a: np.subtract.outer(a, np.arange(2)),
    "where": lambda a: np.where(a > 5, a, 0),
    "concatenate": lambda a: np.concatenate([a, LOCAL], axis=1),
    "stack": lambda a: np.stack([a, a]),
    "mean": lambda a: np.mean(a, axis=0),
    "linalg": lambda a: np.linalg.norm(a, axis=1),
    "fft": lambda a: np.abs(np.fft.rfft(a)),
    "einsum": lambda a: np.einsum("ij,kj->ik", a, LOCAL),
    "sort": lambda a: np.sort(a[::-1], axis=0),
    "percentile": lambda a: np.percentile(a, [10, 50]),
    "unique": lambda a: np.unique(a),
    "split": lambda a: np.split(a, 3, axis=1)[1],
    "histogram": lambda a: np.histogram(a, bins=4)[0],
    "broadcast": lambda a: np.broadcast_to(a[0], (4, 3)),
    "divmod": lambda a: np.divmod(a, 4.0)[1],
    "shape": lambda a: np.zeros(np.shape(a)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_of_this_sessions_numpy_gives_the_same_on_a_proxy(rnp: Any, name: str) -> None:
    np.testing.assert_allclose(byvalue(CALLS[name](rnp.array(LOCAL))), CALLS[name](LOCAL), rtol=1e-12)


@pytest.mark.parametrize("name", ["sqrt", "where", "concatenate", "mean", "fft"])
def test_the_work_is_done_there_and_the_result_stays_there(rnp: Any, name: str) -> None:
    assert isproxy(CALLS[name](rnp.array(LOCAL)))


def test_out_may_be_an_array_of_either_side(rnp: Any) -> None:
    remote, here, there_too = rnp.array(LOCAL), np.empty_like(LOCAL), rnp.zeros(LOCAL.shape)
    assert np.sqrt(remote, out=here) is here
    assert np.sqrt(remote, out=there_too) is there_too
    np.testing.assert_array_equal(here, np.sqrt(LOCAL))
    np.testing.assert_array_equal(byvalue(there_too), np.sqrt(LOCAL))
    whole, part = np.empty_like(LOCAL), np.empty_like(LOCAL)
    np.modf(remote / 2, part, whole)
    np.testing.assert_array_equal(whole + part, LOCAL / 2)
    masked = np.zeros_like(LOCAL)
    np.sqrt(remote, out=masked, where=LOCAL > 5)
    assert (masked[0, 0], masked[1, 2]) == (0, 6)
    total = np.empty(3)
    assert np.sum(remote, axis=0, out=total) is total
    assert total.tolist() == LOCAL.sum(0).tolist()
    with pytest.raises(TypeError):
        np.sqrt(remote, out=np.empty(LOCAL.shape, dtype=np.int8))


def test_functions_that_fill_an_array_of_this_session_fill_it(rnp: Any) -> None:
    here = np.zeros_like(LOCAL)
    np.copyto(here, rnp.array(LOCAL))
    assert here.tolist() == LOCAL.tolist()
    np.put(here, [0, 1], rnp.array([7.0, 8.0]))
    assert here[0, :2].tolist() == [7, 8]
    here[1] = rnp.array([1.0, 2.0, 3.0])
    assert here[1].tolist() == [1, 2, 3]


def test_ufuncs_on_data_frames_stay_data_frames(there: There) -> None:
    frame = there("pd.DataFrame({'a': [1.0, 4.0]})")
    result = np.sqrt(frame)
    assert type(result).__name__ == "DataFrame"
    assert byvalue(result)["a"].tolist() == [1, 2]


def test_an_array_with_a_priority_of_its_own_answers_operators_itself(there: There) -> None:
    there(
        "class Strange:\n    __array_priority__ = 99\n    def __array__(self, dtype=None, copy=None): return np.ones(2)\n"
        "    def __radd__(self, other): return 'mine'"
    )
    assert np.ones(2) + there("Strange()") == "mine"
    assert byvalue(np.sin(there("Strange()"))).tolist() == np.sin(np.ones(2)).tolist()


def test_a_ufunc_that_only_this_session_has_is_refused_with_advice(rnp: Any) -> None:
    mine = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TransferError, match="neither numpy's nor scipy's.*byvalue"):
        mine(rnp.arange(3))


def test_an_array_of_another_library_here_keeps_its_say(rnp: Any) -> None:
    class Loud:
        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            return "loud"

    assert np.concatenate([rnp.arange(3), Loud()]) == "loud"


@pytest.mark.parametrize(
    "text", ["float32", "<M8[ns]", ">i4", "S5", "U3", "bool", "(2,)f8", "i4,f8", "complex64", "m8[D]"]
)
def test_a_dtype_travels_by_value(rnp: Any, text: str) -> None:
    dtype = np.dtype(text)
    found = rnp.zeros(2, dtype).dtype
    assert not isproxy(found)
    assert found == rnp.dtype(text).base
    assert np.zeros(1, found).dtype == found
    assert rnp.issubdtype(found, rnp.generic)
    assert isinstance(found, np.dtype)
    assert rnp.dtype is np.dtype


def test_a_dtype_that_is_no_plain_one_is_a_proxy_or_by_value_but_never_wrong(rnp: Any) -> None:
    assert rnp.array([{}]).dtype == np.dtype(object)
