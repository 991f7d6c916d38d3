"""A network, a data set and a function with a gradient of one's own."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    """Sines of random phase and their frequency."""

    def __init__(self, n, length=16):
        generator = torch.Generator().manual_seed(n)
        self.phase = torch.rand(n, generator=generator) * 6
        self.label = torch.randint(1, 4, (n,), generator=generator)
        self.time = torch.linspace(0, 6, length)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, index):
        wave = torch.sin(self.label[index] * self.time + self.phase[index])
        return wave, self.label[index] - 1


class Residual(nn.Module):
    """Add a small network to its own input."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.inner(x)


class Net(nn.Module):
    """Classify waves."""

    def __init__(self, length=16, width=12, classes=3):
        super().__init__()
        self.enter = nn.Linear(length, width)
        self.blocks = nn.ModuleList([Residual(width) for _ in range(2)])
        self.leave = nn.Linear(width, classes)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += len(x)
        x = torch.relu(self.enter(x))
        for block in self.blocks:
            x = block(x)
        return self.leave(x) * self.scale


class Cube(torch.autograd.Function):
    """The third power, with its gradient by hand."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 * x**2


torch.manual_seed(2)
data = Waves(48)
loader = DataLoader(data, batch_size=12)
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()

losses = []
for _ in range(4):
    for waves, labels in loader:
        optimizer.zero_grad()
        loss = criterion(net(waves), labels)
        loss.backward()
        optimizer.step()
    losses.append(loss.item())

net.eval()
with torch.no_grad():
    guess = net(data[0][0].unsqueeze(0)).argmax().item()

z = torch.tensor([1.0, 2.0], requires_grad=True)
Cube.apply(z).sum().backward()

results = {
    "losses": losses,
    "guess": guess,
    "names": [name for name, _ in net.named_parameters()],
    "state": sorted(net.state_dict()),
    "seen": net.seen.item(),
    "cube": z.grad.tolist(),
    "repr": repr(net),
    "is": isinstance(net, nn.Module),
    "length": len(data),
    "modules": sum(1 for module in net.modules()),
    "width": net.enter.out_features,
}
