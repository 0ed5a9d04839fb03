"""A histogram of a data set's document lengths over a logarithmic axis, with the context marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError, printable
from lmlab.data.describe import Description, SplitDescription

ENDINGS = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
COLOURS = {"train": "#2b6cb0", "valid": "#dd6b20", "test": "#718096"}
INK, FAINT = "#1a202c", "#a0aec0"


def require_picture(path: Path) -> None:
    """Raise LabError if no picture can be written at `path`; called before any text is read."""
    if path.suffix.lower() not in ENDINGS:
        raise LabError(f"--plot {path}: expected a file ending in {', '.join(ENDINGS)}, such as lengths.png")
    if not path.parent.is_dir():
        raise LabError(f"--plot {path}: there is no folder {path.parent}; make it, or choose another")


def plot_lengths(description: Description, path: Path) -> Path:
    """Plot the document lengths of every split that has several documents into an image file of the type of its extension."""
    splits = [split for split in description.splits if split.documents > 1]
    if not splits:
        raise LabError(
            f"{description.name} has one document in each split, so there are no lengths to draw: leave --plot out, or divide the "
            "text into documents with --data.separator"
        )
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(splits), 1, figsize=(9, 1.2 + 2.8 * len(splits)), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, split in zip(axes[:, 0], splits, strict=True):
        _draw(axis, split)
    axes[-1, 0].set_xlabel(f"document length in tokens ({description.tokenizer['name']})", color=INK)
    figure.align_ylabels(axes[:, 0])
    title = f"{printable(description.name)}: document lengths"
    figure.suptitle(title, color=INK, fontweight="bold", parse_math=False)  # a name may hold a dollar sign
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be written ({error}): expected a path such as lengths.png") from None
    finally:
        pyplot.close(figure)
    return path


def _draw(axis: Any, split: SplitDescription) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    lengths, crop = split.lengths, split.cropping
    widths = [high - low for low, high in zip(lengths.edges, lengths.edges[1:], strict=False)]
    colour = COLOURS.get(split.name, INK)
    axis.bar(
        lengths.edges[:-1],
        lengths.counts,
        widths,
        align="edge",
        color=colour,
        edgecolor="white",
        linewidth=0.7,
        zorder=2,
    )
    axis.set_xscale("log")
    axis.set_ylabel("documents", color=INK)
    kept = f"cropped at the context: {100 * crop.kept_share:.1f}% of the tokens kept"
    axis.set_title(f"{split.name}: {split.documents:,} documents", loc="left", fontsize=10, color=colour, pad=18)
    axis.set_title(kept, loc="right", fontsize=9, color=INK, pad=18)
    top = max(lengths.counts) * 1.05
    axis.set_ylim(0, top)
    median = lengths.percentiles[50]
    marks = sorted([(median, f"median {median:,.0f}", ":"), (crop.context, f"context {crop.context:,}", "--")])
    for (value, label, style), side in zip(marks, ("right", "left"), strict=True):  # apart, so that they never overlap
        axis.axvline(value, color=INK, linestyle=style, linewidth=1.1, zorder=3)
        place = {"xy": (value, top), "xytext": (-4 if side == "right" else 4, 3), "textcoords": "offset points"}
        axis.annotate(label, ha=side, va="bottom", fontsize=8, color=INK, **place)
    axis.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.7, zorder=1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))  # documents are whole
    axis.yaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
    axis.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
