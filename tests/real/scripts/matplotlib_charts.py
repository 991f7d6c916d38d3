"""Bars, histograms, images and a chart put together from patches."""

import io
import tempfile
from datetime import date, timedelta
from pathlib import Path

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cm
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

plt.switch_backend("agg")
rng = np.random.default_rng(9)


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    plt.close(figure)
    return buffer.getvalue()


# bars with labels from a function of ours
fig, ax = plt.subplots(figsize=(4, 3))
bars = ax.bar(["a", "b", "c"], [3, 7, 5], color=["#336699", "orange", (0.2, 0.7, 0.2)])
for bar, text in zip(bars, ["three", "seven", "five"]):
    ax.text(bar.get_x() + bar.get_width() / 2, bar.get_height() / 2, text, ha="center")
ax.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:.0f} kg"))
ax.yaxis.set_major_locator(MaxNLocator(4))
ax.margins(y=0.2)
heights = [float(bar.get_height()) for bar in bars]
bar_png = png(fig)

# a histogram and a scatter plot
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
counts, edges, _ = left.hist(rng.normal(size=300), bins=12, histtype="stepfilled", alpha=0.5)
points = right.scatter(rng.uniform(size=20), rng.uniform(size=20), c=np.arange(20), cmap="viridis", s=30)
fig.colorbar(points, ax=right, label="age")
both_png = png(fig)

# an image with a colour map of one's own
mine = LinearSegmentedColormap.from_list("mine", ["navy", "white", "red"])
fig = plt.figure(figsize=(3, 3))
ax = fig.add_subplot()
image = ax.imshow(np.arange(25).reshape(5, 5), cmap=mine, origin="lower")
ax.add_patch(Circle((2, 2), 1.5, fill=False, lw=2))
ax.add_patch(Rectangle((0, 0), 1, 1, color="k"))
ax.set_xticks([])
image.set_clim(0, 20)
image_png = png(fig)

# dates on the axis
start = date(2024, 1, 1)
days = [start + timedelta(days=n) for n in range(10)]
fig, ax = plt.subplots(figsize=(4, 2))
ax.plot(days, np.cumsum(rng.normal(size=10)))
ax.fill_between(days, -1, 1, alpha=0.2)
ax.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))
fig.autofmt_xdate()
dates_png = png(fig)

# contours, a mosaic and a file
fig, axd = plt.subplot_mosaic([["top", "top"], ["low", "pie"]], figsize=(4, 4))
xx, yy = np.meshgrid(np.linspace(-2, 2, 30), np.linspace(-2, 2, 30))
contours = axd["top"].contourf(xx, yy, np.exp(-(xx**2) - yy**2), levels=5)
axd["low"].boxplot([rng.normal(size=20), rng.normal(size=20)])
wedges, texts, percents = axd["pie"].pie([1, 2, 3], labels=["x", "y", "z"], autopct=lambda p: f"{p:.0f}%")
said = [text.get_text() for text in percents]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "figure.png"
    fig.savefig(path, dpi=40)
    file_png = path.read_bytes()
names = sorted(axd)
plt.close(fig)

results = {
    "bar": bar_png,
    "heights": heights,
    "both": both_png,
    "counts": counts,
    "edges": edges,
    "image": image_png,
    "dates": dates_png,
    "file": file_png,
    "said": said,
    "names": names,
    "levels": contours.levels,
    "colour": cm.viridis(0.5),
    "mine": mine(0.0),
}
