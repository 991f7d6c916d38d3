"""Train a little on the CPU with threads; save and load."""

import torch

torch.manual_seed(0)
torch.set_num_threads(2)
net = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
best = torch.optim.Adam(net.parameters(), lr=0.01)
x = torch.randn(512, 10)
y = x.sum(1, keepdim=True)
for _ in range(60):
    best.zero_grad()
    loss = torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    best.step()
assert loss.item() < 5
torch.save(net.state_dict(), "net.pt")
net.load_state_dict(torch.load("net.pt"))
big = torch.randn(1000, 1000)
assert torch.isfinite(torch.linalg.svdvals(big @ big)).all()
assert not torch.cuda.is_available()
