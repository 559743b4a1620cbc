"""Draw the gallery's charts from the figures in the examples' READMEs.

python docs/scripts/make_gallery.py [FOLDER]

The numbers are read from the tables, so that a chart shows what its README says.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
BLUE, GRAY = "#2563eb", "#94a3b8"


def rows(example: str, pattern: str) -> list[list[str]]:
    """The cells of the table rows of a README that match a pattern, without their marks."""
    lines = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("|") and re.search(pattern, line)]
    return [[cell.replace("*", "").strip() for cell in line.strip("|").split("|")] for line in found]


def number(text: str) -> float:
    """The first number of a cell."""
    return float(re.search(r"[-+]?[\d.]+", text)[0])  # type: ignore[index]


def bars(title: str, pairs: list[tuple[str, float]], best: str, unit: str, low: float, path: Path) -> None:
    """One bar for each method; the example's own in colour."""
    figure, axis = plt.subplots(figsize=(4.2, 2.35), dpi=110, layout="constrained")
    names, values = zip(*pairs, strict=True)
    drawn = axis.barh(names, values, color=[BLUE if name == best else GRAY for name in names], height=0.62)
    axis.bar_label(drawn, [f"{value:g} {unit}".strip() for value in values], padding=3, fontsize=8)
    axis.set_xlim(low, max(values) + 0.22 * (max(values) - low))
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9, loc="left")
    axis.tick_params(labelsize=8, length=0)
    axis.get_xaxis().set_visible(False)
    axis.spines[:].set_visible(False)
    figure.savefig(path, facecolor="white")
    plt.close(figure)


def main(folder: Path) -> None:
    """Draw all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (found,) = rows("denoise", r"the 3 photographs")
    names = ["noisy", "non-local means", "DnCNN"]
    psnr = [(name, number(value)) for name, value in zip(names, found[1:4], strict=True)]
    bars("PSNR on held-out photographs", psnr, psnr[-1][0], "dB", 15, folder / "denoise.png")
    found = rows("noise2noise", r"^\| (noisy|\**noise-to-|non-local)")[:4]
    psnr = [(row[0].split(" of ")[0], number(row[1])) for row in found]
    bars("PSNR, Gaussian noise, held-out photographs", psnr, "noise-to-noise", "dB", 15, folder / "noise2noise.png")
    iou = [(row[0].removeprefix("fully "), number(row[1])) for row in rows("landcover", r"regression|trees|network")][
        :3
    ]
    bars("IoU of vegetation", iou, "convolutional network", "", 0.75, folder / "landcover.png")
    right = [number(row[0]) for row in rows("mnist", r"%")]
    accuracy = [("this script", right[0]), ("LeNet-5, 1998", right[1])]
    bars("test accuracy", accuracy, "this script", "%", 98, folder / "mnist.png")
    tour(folder / "tf_summary.png")


def tour(path: Path) -> None:
    """The tour of TensorFlow as a diagram: sources, models, ways to train."""
    columns = {
        "sources": ["NumPy", "pandas", "generator", "CSV", "text", "files", "TFRecord"],
        "models": ["Sequential", "functional", "subclass"],
        "ways": ["fit", "train_on_batch", "GradientTape", "flowtrain"],
    }
    figure, axis = plt.subplots(figsize=(4.2, 2.35), dpi=110, layout="constrained")
    for x, (title, names) in enumerate(columns.items()):
        axis.text(x, 1.02, title, ha="center", fontsize=9, color=GRAY)
        for number_, name in enumerate(names):
            box = {"boxstyle": "round,pad=0.35", "facecolor": "#eef3fe", "edgecolor": BLUE, "linewidth": 0.7}
            axis.text(x, 0.88 - number_ * 0.14 - (7 - len(names)) * 0.07, name, ha="center", fontsize=7.5, bbox=box)
    for x in (0.5, 1.5):
        axis.annotate("", (x + 0.1, 0.46), (x - 0.1, 0.46), arrowprops={"arrowstyle": "->", "color": GRAY})
    axis.set_xlim(-0.5, 2.5)
    axis.set_ylim(-0.05, 1.1)
    axis.axis("off")
    figure.savefig(path, facecolor="white")
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "gallery")
