"""torch tensors as arguments, as copies and shared; on the CPU, and by handle on a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from there import copying

from isolate_magic import Companion, ProtocolError, TransferError, byvalue, import_isolated, isproxy, share

torch = pytest.importorskip("torch", reason="torch is not installed here")
np = pytest.importorskip("numpy")

SOURCE = """
import torch
def same(x): return x
def told(x): return repr(x), tuple(x.stride()), type(x).__name__, str(x.dtype), x.requires_grad
def add(x):
    with torch.no_grad():
        x.add_(1)
    return float(x.sum())
kept = []
"""


@pytest.fixture(scope="module", params=["direct", "memfd"])
def near(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion for each of the two ways that bodies travel."""
    with copying(request.param, "tensors", SOURCE, "torch") as made:
        yield made


DTYPES = [
    "float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool", "uint8", "int8", "int16", "int32",
    "int64", "uint16", "float8_e4m3fn",
]  # fmt: skip


def tensors() -> list[Any]:
    every = [torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES]
    grid = torch.arange(24.0).reshape(2, 3, 4)
    return [
        *every, torch.tensor(5), torch.empty(0, 3), grid.permute(1, 2, 0), grid[:, ::2], grid[0].T, grid[1, 2],
        torch.ones(3).expand(4, 3), torch.arange(300_000.0).reshape(300, 1000), torch.ones(300_000)[::3],
        torch.ones(3, requires_grad=True), torch.nn.Parameter(torch.ones(2, 2)), torch.tensor([1 + 2j]).conj(),
        torch.nn.Parameter(torch.ones(2), requires_grad=False), torch.ones(3, requires_grad=True) * 2,
    ]  # fmt: skip


def describe(x: Any) -> tuple[Any, ...]:
    return type(x).__name__, str(x.dtype), tuple(x.shape), x.requires_grad, x.detach().resolve_conj().tolist()


@pytest.mark.parametrize("way", ["given", "shared"])
def test_tensors_arrive_there_and_come_back_exactly(near: Companion, way: str) -> None:
    for tensor in tensors():
        given = share(tensor) if way == "shared" else tensor
        remote = near.pull("same")(given)
        assert isproxy(remote)
        text, stride, *told = near.pull("told")(given)
        assert told == [type(tensor).__name__, str(tensor.dtype), tensor.requires_grad]
        back = byvalue(remote)
        assert describe(back) == describe(tensor)
        assert back.is_leaf
        if tensor.numel() and torch.is_nonzero(torch.tensor(tensor.is_contiguous())):
            assert stride == tensor.stride()


def test_the_axes_keep_their_order_in_memory(near: Companion) -> None:
    tensor = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    for given in (tensor, share(tensor)):
        assert near.pull("told")(given)[1] == tensor.stride()
        assert byvalue(near.pull("same")(given)).stride() == tensor.stride()


def test_a_tensor_that_arrives_is_a_copy_that_may_be_written_to(near: Companion) -> None:
    for size in (3, 300_000):
        mine = torch.zeros(size)
        assert near.pull("add")(mine) == size
        assert not mine.any()
        near.push({"pushed": mine})
        assert near.run("add(pushed), add(pushed)") == (size, 2 * size)


def test_modules_and_containers_of_tensors_travel(near: Companion) -> None:
    model = torch.nn.Linear(300, 200)
    x = torch.ones(5, 300)
    answer = near.run("lambda model, batch, **named: model(batch['x']).detach() * named['by'][0]")
    assert torch.allclose(
        byvalue(answer(model, {"x": x}, by=[torch.tensor(2.0)])), model(x).detach() * 2, atol=1e-4
    )
    model.weight.data = share(model.weight).detach()
    assert torch.allclose(
        byvalue(answer(model, {"x": share(x)}, by=[torch.tensor(1.0)])), model(x).detach(), atol=1e-4
    )
    found = byvalue(
        near.run("[torch.ones(2), {'a': torch.zeros(3, dtype=torch.bfloat16)}, (torch.arange(3),)]")
    )
    assert (found[0].tolist(), found[1]["a"].dtype, found[2][0].tolist()) == (
        [1, 1],
        torch.bfloat16,
        [0, 1, 2],
    )


def test_a_shared_tensor_is_mapped_and_what_is_written_to_it_stays_where_it_is(near: Companion) -> None:
    shared = share(torch.zeros(300_000))
    assert type(shared) is torch.Tensor
    assert share(shared) is shared
    assert share(shared[5:]).data_ptr() == shared[5:].data_ptr()
    add = near.pull("add")
    assert [add(shared), add(shared), add(shared[::2])] == [300_000, 300_000, 150_000]
    assert not shared.any()
    with Companion("tensors-second", preload=["torch"]) as second:
        assert second.call(lambda x: float(x.sum()), shared) == 0.0


def test_a_shared_tensor_that_was_written_to_here_travels_as_it_is_now(near: Companion) -> None:
    shared = share(torch.zeros(10))
    shared[3] = 5
    assert near.pull("add")(shared) == 15.0
    again = share(shared)
    assert again is not shared
    assert near.pull("add")(again[1:]) == 14.0


def test_a_hand_over_of_a_shared_tensor_copies_nothing(near: Companion) -> None:
    import psutil

    shared = share(torch.zeros(25_000_000))
    meter = psutil.Process(near.pid)
    near.pull("kept").append(shared[:10])
    before = meter.memory_info().rss
    for n in range(5):
        near.pull("kept").append(shared[n:])
    assert near.run("len(kept)") == 6
    assert meter.memory_info().rss - before < 20 << 20
    near.pull("kept").clear()


def test_a_tensor_of_a_companion_comes_straight_into_shared_memory(near: Companion) -> None:
    remote = near.run("torch.nn.Parameter(torch.arange(30_000.).reshape(100, 300).T.to(torch.bfloat16))")
    shared = share(remote)
    assert type(shared) is torch.nn.Parameter
    assert (shared.dtype, shared.shape, shared.requires_grad) == (torch.bfloat16, (300, 100), True)
    assert share(shared) is shared
    assert torch.equal(shared.detach(), torch.arange(30_000.0).reshape(100, 300).T.to(torch.bfloat16))


def test_other_kinds_of_tensors_are_refused_or_left_to_torch(near: Companion) -> None:
    sparse = torch.eye(3).to_sparse()
    assert near.run("lambda x: float(x.to_dense().sum())")(sparse) == 3.0
    assert byvalue(near.pull("same")(sparse)).to_dense().tolist() == torch.eye(3).tolist()
    with pytest.raises(TransferError, match=r"to_dense\(\)"):
        share(sparse)
    with pytest.raises(TransferError, match=r"on the device meta.*byvalue\(x\.cpu\(\)\)"):
        byvalue(near.run("torch.empty(2, device='meta')"))
    with pytest.raises(TransferError, match=r"on the device meta.*x\.cpu\(\)"):
        share(torch.empty(2, device="meta"))


def test_a_session_without_torch_is_told_what_to_do() -> None:
    code = """
import sys
from isolate_magic import Companion, TransferError, byvalue
with Companion("t") as companion:
    x = companion.run("import torch; torch.ones(3)")
    try:
        byvalue(x)
    except TransferError as error:
        assert "import torch here first" in str(error), error
    assert byvalue(x.numpy()).tolist() == [1, 1, 1]
    assert "torch" not in sys.modules
    import torch
    assert byvalue(x).tolist() == [1, 1, 1]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LIES = {
    "an unknown type": "f.Tensor(f.Array('<f4', (2,), 'C', f.Inline(bytes(8))), 'qint8', False, False)",
    "a name of torch": "f.Tensor(f.Array('<f4', (2,), 'C', f.Inline(bytes(8))), 'load', False, False)",
    "other bits": "f.Tensor(f.Array('<f4', (2,), 'C', f.Inline(bytes(8))), 'float64', False, False)",
    "another byte order": "f.Tensor(f.Array('>f4', (2,), 'C', f.Inline(bytes(8))), 'float32', False, False)",
    "no array": "f.Tensor(5, 'float32', False, False)",
    "a list for an array": "f.Tensor(f.List((1, 2)), 'int64', False, False)",
    "a length that lies": "f.Tensor(f.Array('<f4', (200,), 'C', f.Inline(bytes(8))), 'float32', False, False)",
    "gradients of integers": "f.Tensor(f.Array('<i8', (1,), 'C', f.Inline(bytes(8))), 'int64', True, False)",
    "a parameter of integers with gradients": "f.Tensor(f.Array('<i8', (1,), 'C', f.Inline(bytes(8))), 'int64', True, True)",
    "booleans that are none": "f.Tensor(f.Array('|b1', (2,), 'C', f.Inline(b'\\x02\\x07')), 'bool', False, False)",
    "an order of no axes": "f.Tensor(f.Array('<f4', (1, 2), '1,1', f.Inline(bytes(8))), 'float32', False, False)",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_tensor_that_makes_no_sense_ends_the_companion(companion: Companion, lie: str) -> None:
    companion.run("from isolate_magic.link import packing, frames as f\nimport time\ntalk = packing.here")
    with pytest.raises(ProtocolError, match="makes no sense"):
        companion.run(
            f"talk.sock.send(f.encode(f.Reply(talk.active[-1], {lie}))); time.sleep(30)", timeout=10
        )
    assert companion.run("6 * 7") == 42


def test_torch_works_in_a_forked_companion_and_in_the_next(companion: Companion) -> None:
    """Threads, autograd, a model and a loader; the zygote has imported torch, and none of its threads run."""
    code = """
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
a = torch.randn(400, 400)
assert torch.allclose(a @ torch.linalg.inv(a), torch.eye(400), atol=1e-2)
x = torch.randn(256, 8); y = x.sum(1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
best = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(20):
    for part, want in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, num_workers=0):
        best.zero_grad(); loss = ((model(part) - want) ** 2).mean(); loss.backward(); best.step()
float(loss), torch.get_num_threads()
"""
    for name in ("torch-one", "torch-two"):
        with Companion(name, preload=["torch"]) as made:
            loss, threads = made.run(code, timeout=60)
            assert loss < 1.0
            assert threads >= 1
            made.restart()
            assert made.run(code, timeout=60)[0] < 1.0
    remote = import_isolated("torch", companion)
    product = remote.ones(300, 200) @ remote.ones(200, 100)
    assert (product.shape, float(product.sum())) == (remote.Size([300, 100]), 6_000_000.0)
    weight = remote.ones(3, requires_grad=True)
    (weight * 2).sum().backward()
    assert byvalue(weight.grad).tolist() == [2, 2, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and a CUDA build of torch")
def test_a_tensor_on_a_gpu_travels_by_handle_and_is_the_same_memory(companion: Companion) -> None:
    tensor = torch.zeros(1000, device="cuda")
    companion.run(SOURCE)
    assert companion.pull("add")(tensor) == 1000.0
    torch.cuda.synchronize()
    assert float(tensor.sum()) == 1000.0
    with pytest.raises(TransferError, match=r"on the device cuda:0.*byvalue\(x\.cpu\(\)\)"):
        byvalue(companion.run("torch.ones(3, device='cuda')"))
    assert byvalue(companion.run("torch.ones(3, device='cuda').cpu()")).tolist() == [1, 1, 1]
