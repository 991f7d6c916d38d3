"""Train a small network with the layers, losses and optimizers of the library."""

import io

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(1)
X = torch.rand(120, 2) * 2 - 1
y = ((X**2).sum(dim=1) < 0.5).long()

generator = torch.Generator().manual_seed(3)
train, test = random_split(TensorDataset(X, y), [90, 30], generator=generator)
loader = DataLoader(train, batch_size=15, shuffle=True, generator=generator)

model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)

history = []
for epoch in range(6):
    model.train()
    running = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        running += loss.item() * inputs.size(0)
    scheduler.step()
    history.append(running / len(train))
    print(f"epoch {epoch}: {history[-1]:.4f}")

model.eval()
correct = 0
with torch.no_grad():
    for inputs, labels in DataLoader(test, batch_size=8):
        predicted = model(inputs).argmax(dim=1)
        correct += (predicted == labels).sum().item()
accuracy = correct / len(test)

# save and load
buffer = io.BytesIO()
torch.save(model.state_dict(), buffer)
buffer.seek(0)
twin = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
twin.load_state_dict(torch.load(buffer))
twin.eval()
same = torch.equal(model(X), twin(X))

shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
count = sum(p.numel() for p in model.parameters() if p.requires_grad)
for parameter in model[0].parameters():
    parameter.requires_grad = False
trainable = sum(p.requires_grad for p in model.parameters())
probabilities = F.softmax(model(X[:3]), dim=1)
learning_rate = optimizer.param_groups[0]["lr"]
children = [type(layer).__name__ for layer in model]

seen = []
handle = model[1].register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
model(X[:4])
handle.remove()
model(X[:5])

results = {
    "history": history,
    "accuracy": accuracy,
    "same": same,
    "shapes": shapes,
    "count": count,
    "trainable": trainable,
    "probabilities": probabilities.detach().numpy(),
    "sums": probabilities.sum(dim=1).tolist(),
    "rate": learning_rate,
    "children": children,
    "seen": seen,
    "repr": repr(model),
    "weights": {name: value.shape for name, value in model.state_dict().items()},
    "length": len(loader),
    "mode": model.training,
}
