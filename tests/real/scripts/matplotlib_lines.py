"""The plots of an ordinary notebook, saved as PNG."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


x = np.linspace(0, 2 * np.pi, 50)

# the quick way
plt.figure(figsize=(4, 3))
plt.plot(x, np.sin(x), "r--", label="sin")
plt.plot(x, [value**2 / 40 for value in x], label="square")
plt.title(r"Two $\alpha$ curves")
plt.xlabel("x")
plt.ylabel("y")
plt.legend(loc="upper right")
plt.grid(True)
plt.tight_layout()
quick = io.BytesIO()
plt.savefig(quick, format="png", dpi=50)
plt.close()

# the tidy way
fig, axes = plt.subplots(2, 2, figsize=(5, 4), sharex=False)
for i, ax in enumerate(axes.flat):
    ax.plot(x, np.sin(x + i), color=f"C{i}")
    ax.set_title(f"shift {i}")
    ax.set(xlim=(0, 6), ylim=(-1.2, 1.2))
(ax1, ax2), (ax3, ax4) = axes
(line,) = ax1.plot([0, 6], [0, 0], lw=1)
line.set_color("black")
line.set_ydata([0.5, 0.5])
ax2.axhline(0, ls=":")
ax3.annotate("top", xy=(1, 0.8), xytext=(3, 1), arrowprops={"arrowstyle": "->"})
ax4.spines["top"].set_visible(False)
for spine in ("left", "right"):
    ax4.spines[spine].set_color("red")
fig.suptitle("Four")
tidy = png(fig)

limits = [tuple(float(v) for v in ax.get_xlim()) for ax in fig.axes]
labels = [text.get_text() for text in plt.gca().get_xticklabels()]
plt.close(fig)

with plt.style.context("ggplot"), plt.rc_context({"lines.linewidth": 4}):
    styled, ax = plt.subplots(figsize=(3, 2))
    ax.plot([1, 2, 3], [1, 4, 2])
    wide = png(styled)
    width = ax.lines[0].get_linewidth()
plt.close("all")

results = {
    "quick": quick.getvalue(),
    "tidy": tidy,
    "wide": wide,
    "limits": limits,
    "labels": labels,
    "width": width,
    "open": plt.get_fignums(),
    "backend": matplotlib.get_backend().lower(),
    "color": matplotlib.colors.to_hex("tab:blue"),
}
