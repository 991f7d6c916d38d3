"""A figure in the notebook, and one in files of several kinds."""

import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0, 6, 200)
fig, axes = plt.subplots(1, 2)
axes[0].plot(x, np.sin(x), label=r"$\sin x$")
axes[0].legend()
axes[1].imshow(np.outer(x, x))
axes[1].set_title("Zürich ∑")
for name in ("f.png", "f.pdf", "f.svg"):
    fig.savefig(name)
plt.show()
