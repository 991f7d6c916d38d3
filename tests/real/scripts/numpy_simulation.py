"""A random walk, a Monte Carlo estimate and a game of life."""

import numpy as np

rng = np.random.default_rng(42)

# how far does a drunkard get?
steps = rng.choice([-1, 1], size=(200, 500))
walks = steps.cumsum(axis=1)
furthest = np.abs(walks).max(axis=1)
crossed = (np.abs(walks) >= 20).any(axis=1)
first_crossing = (np.abs(walks[crossed]) >= 20).argmax(axis=1)

# pi by darts
points = rng.uniform(-1, 1, size=(20_000, 2))
inside = (points**2).sum(axis=1) <= 1
estimate = 4 * np.mean(inside)

# bootstrap with a seeded global generator, as older code does
np.random.seed(1)
sample = np.random.normal(10, 2, size=50)
means = [np.random.choice(sample, size=50).mean() for _ in range(40)]
low, high = np.percentile(means, [2.5, 97.5])


# Conway
def step(board):
    neighbours = sum(
        np.roll(np.roll(board, i, 0), j, 1) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)
    )
    return ((neighbours == 3) | (board & (neighbours == 2))).astype(int)


board = np.zeros((8, 8), dtype=int)
board[1, 2] = board[2, 3] = 1
board[3, 1:4] = 1
for _ in range(5):
    board = step(board)
picture = "\n".join("".join("#" if cell else "." for cell in row) for row in board)

hist, edges = np.histogram(furthest, bins=10)
shuffled = np.arange(10)
rng.shuffle(shuffled)
deck = list(range(10))
rng.shuffle(deck)

if crossed.any() and not crossed.all():
    verdict = "some"
else:
    verdict = "all or none"

results = {
    "furthest": furthest,
    "mean": walks[:, -1].mean(),
    "first": first_crossing[:10],
    "pi": estimate,
    "interval": (low, high),
    "board": board,
    "picture": picture,
    "hist": hist.tolist(),
    "edges": edges,
    "shuffled": shuffled,
    "deck": deck,
    "verdict": verdict,
    "integers": rng.integers(0, 10, 5).tolist(),
    "alive": np.count_nonzero(board),
    "where": [index.tolist() for index in np.nonzero(board)],
    "spawned": [child.random() for child in rng.spawn(2)],
}
