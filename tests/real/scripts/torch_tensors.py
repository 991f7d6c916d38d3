"""Tensors, gradients and numpy."""

import copy

import numpy as np
import torch

torch.manual_seed(0)
a = torch.randn(3, 4)
b = torch.arange(12, dtype=torch.float32).reshape(4, 3)
product = a @ b
total = (a * 2 + 1).sum()
picked = b[b > 6]
b[0, :] = 100
b[:, 1] += 1
b.clamp_(max=50)
stacked = torch.stack([a[0], a[1]])
joined = torch.cat((a, a), dim=0)
values, indices = torch.topk(a.flatten(), k=3)
best = a.argmax(dim=1)
swapped = a.permute(1, 0).contiguous().view(2, 6)
norm = a.norm()
broadcast = a - a.mean(dim=0, keepdim=True)
mask = torch.where(a > 0, a, torch.zeros_like(a))
batches = torch.einsum("ij,jk->ik", a, b)
u, s, v = torch.linalg.svd(a, full_matrices=False)

# gradients
w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
loss = (w**2).sum() * 0.5
loss.backward()
gradient = w.grad.clone()
w.grad.zero_()
y = torch.sin(w).prod()
(direct,) = torch.autograd.grad(y, w)
with torch.no_grad():
    w -= 0.1 * gradient
    untracked = (w * 2).requires_grad
detached = w.detach().numpy().copy()


# gradient descent by hand
x = torch.linspace(-1, 1, 20)
target = 2 * x + 1
slope = torch.zeros(1, requires_grad=True)
offset = torch.zeros(1, requires_grad=True)
losses = []
for step in range(30):
    error = ((slope * x + offset - target) ** 2).mean()
    error.backward()
    with torch.no_grad():
        for parameter in (slope, offset):
            parameter -= 0.3 * parameter.grad
            parameter.grad = None
    losses.append(error.item())

hooked = []
z = torch.ones(2, requires_grad=True)
z.register_hook(lambda grad: hooked.append(grad.tolist()))
(z * 3).sum().backward()

# numpy
from_numpy = torch.from_numpy(np.arange(6.0).reshape(2, 3))
as_tensor = torch.as_tensor([[1, 2], [3, 4]])
to_numpy = from_numpy.numpy()
mixed = torch.tensor(np.float32(1.5)) + 1
sine = np.sin(from_numpy.numpy())

generator = torch.Generator().manual_seed(5)
draws = torch.rand(3, generator=generator)
permutation = torch.randperm(5, generator=generator)
twin = copy.deepcopy(from_numpy)
twin[0, 0] = -1

try:
    a @ a
except RuntimeError as error:
    problem = str(error)

for row in as_tensor:
    last = row.tolist()

results = {
    "a": a.numpy(),
    "product": product.tolist(),
    "total": total.item(),
    "picked": picked.tolist(),
    "b": b,
    "stacked": stacked.shape == (2, 4),
    "joined": tuple(joined.shape),
    "top": (values.tolist(), indices.tolist()),
    "best": best.tolist(),
    "swapped": swapped.size(),
    "norm": float(norm),
    "broadcast": broadcast.numpy(),
    "mask": mask.sum().item(),
    "batches": batches.numpy(),
    "s": s.numpy(),
    "gradient": gradient,
    "direct": direct.numpy(),
    "untracked": untracked,
    "detached": detached,
    "losses": losses,
    "slope": slope.item(),
    "hooked": hooked,
    "numpy": to_numpy,
    "mixed": mixed.item(),
    "sine": sine,
    "draws": draws.tolist(),
    "permutation": permutation.tolist(),
    "twin": twin.tolist(),
    "untouched": from_numpy[0, 0].item(),
    "problem": problem,
    "last": last,
    "dtype": a.dtype == torch.float32,
    "device": str(a.device),
    "repr": repr(as_tensor),
    "len": len(a),
    "bool": bool(total > 0),
    "int": int(as_tensor[1, 1]),
    "format": f"{norm:.3f}",
    "grad_mode": torch.is_grad_enabled(),
    "is": isinstance(a, torch.Tensor),
}
