"""A character model with attention, a learning-rate schedule, early stopping and a checkpoint file."""

import math
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

TEXT = "the cat sat on the mat and the dog sat on the log " * 4
letters = sorted(set(TEXT))
number = {letter: i for i, letter in enumerate(letters)}
data = torch.tensor([number[letter] for letter in TEXT])
torch.manual_seed(4)
torch.set_num_threads(1)


def batch(size=8, length=10):
    starts = torch.randint(0, len(data) - length - 1, (size,))
    x = torch.stack([data[s : s + length] for s in starts])
    y = torch.stack([data[s + 1 : s + length + 1] for s in starts])
    return x, y


class Head(nn.Module):
    """One head of causal self-attention."""

    def __init__(self, width, length):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.register_buffer("mask", torch.tril(torch.ones(length, length)))

    def forward(self, x):
        steps = x.shape[1]
        scores = self.query(x) @ self.key(x).transpose(-2, -1) / math.sqrt(x.shape[-1])
        scores = scores.masked_fill(self.mask[:steps, :steps] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ self.value(x)


class Model(nn.Module):
    """Guess the next letter."""

    def __init__(self, width=16, length=10):
        super().__init__()
        self.embed = nn.Embedding(len(letters), width)
        self.place = nn.Parameter(torch.zeros(length, width))
        self.layers = nn.Sequential(
            OrderedDict([("head", Head(width, length)), ("norm", nn.LayerNorm(width)), ("act", nn.GELU())])
        )
        self.out = nn.Linear(width, len(letters))
        self.apply(self.start)

    @staticmethod
    def start(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)

    def forward(self, x, y=None):
        logits = self.out(self.layers(self.embed(x) + self.place[: x.shape[1]]))
        if y is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), y.flatten())


model = Model()
groups = [
    {"params": [p for n, p in model.named_parameters() if p.dim() > 1], "weight_decay": 0.01},
    {"params": [p for n, p in model.named_parameters() if p.dim() <= 1], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, lr=0.03)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)

losses, best, patience = [], float("inf"), 0
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "best.pt"
    for step in range(8):
        optimizer.zero_grad(set_to_none=True)
        _, loss = model(*batch())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if loss < best:
            best, patience = loss.item(), 0
            torch.save({"model": model.state_dict(), "step": step}, path)
        else:
            patience += 1
    saved = torch.load(path)
    model.load_state_dict(saved["model"])


@torch.no_grad()
def write(start, count):
    model.eval()
    ids = torch.tensor([[number[start]]])
    for _ in range(count):
        logits, _ = model(ids[:, -10:])
        ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return "".join(letters[i] for i in ids[0].tolist())


written = write("t", 6)
gradients = {name: p.grad is not None for name, p in model.named_parameters()}
kinds = Counter(type(module).__name__ for module in model.modules())
traced = torch.autograd.functional.jacobian(lambda v: (v**2).sum(), torch.tensor([1.0, 2.0]))
mapped = torch.func.vmap(lambda v: v * 2)(torch.arange(3.0))
frozen = model.embed.weight.requires_grad_(False).requires_grad

results = {
    "losses": losses,
    "best": best,
    "step": saved["step"],
    "written": len(written),
    "gradients": gradients,
    "kinds": dict(kinds),
    "rate": optimizer.param_groups[0]["lr"],
    "jacobian": traced.tolist(),
    "mapped": mapped.tolist(),
    "frozen": frozen,
    "layer": str(model.layers.norm),
    "size": sum(p.numel() for p in model.parameters()),
    "summary": repr(model),
}
