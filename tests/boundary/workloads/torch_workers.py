"""Load batches in two processes."""

import torch
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.arange(64.0).reshape(64, 1))
total = sum(batch[0].sum().item() for batch in DataLoader(data, batch_size=8, num_workers=2))
assert total == 64 * 63 / 2
