"""Pictures of a grid and of its speed. Matplotlib and networkx are the extra 'plot', and imported when a picture is
made and not before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from .errors import SoftgridError
from .tree import ROLES, split_name

COLOURS = {"orchestrator": "#e03131", "router": "#2f9e44", "manager": "#1c7ed6", "worker": "#fab005"}
BRIDGE_COLOUR = "#e03131"
_SIZES = {"orchestrator": 420, "router": 220, "manager": 170, "worker": 90}
_SUFFIXES = (".png", ".svg")


def plotting() -> tuple[Any, Any]:
    """(matplotlib, networkx). Raises SoftgridError where one is missing."""
    try:
        import matplotlib
        import networkx
    except ImportError as exc:
        raise SoftgridError(
            f"Pictures need {exc.name}, which is not installed here; 'pip install \"gridcompute[plot]\"' installs it."
        ) from exc
    return matplotlib, networkx


def checked_path(path: Any) -> Path | None:
    """Where a picture goes to; None is the screen. Raises SoftgridError for another kind of file."""
    if path is None:
        return None
    place = Path(path)
    if place.suffix.lower() not in _SUFFIXES:
        raise SoftgridError(f"A picture is a PNG or SVG file, so its name ends with .png or .svg, not {place.name!r}.")
    return place


def new_figure(size: tuple[float, float], path: Path | None) -> Any:
    """A figure for a file, which needs no screen, or one of pyplot's for the screen."""
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(figsize=size)
    from matplotlib import pyplot

    return pyplot.figure(figsize=size)


def put_out(figure: Any, path: Path | None, dpi: float) -> None:
    if path is not None:
        figure.savefig(path, dpi=dpi, bbox_inches="tight")
    else:
        from matplotlib import pyplot

        pyplot.show()


class GridGraph:
    """A grid as a graph: `paths` names for each executor those above it, the topmost first; bridges are pairs."""

    def __init__(self, paths: dict[str, list[str]], bridges: Iterable[tuple[str, str]] = ()):
        self.paths = {name: list(path) for name, path in paths.items()}
        self.bridges = [pair for pair in dict.fromkeys(map(tuple, bridges)) if set(pair) <= set(self.paths)]

    @property
    def edges(self) -> list[tuple[str, str]]:
        """(upgrid, executor) for each connection of the tree."""
        return [(path[-1], name) for name, path in self.paths.items() if path]

    def draw_graph(
        self,
        path: Any = None,
        labelsFormat: str | None = None,
        title: str | None = None,
        figureSize: tuple[float, float] | None = None,
        fontSize: float | None = None,
        legend: bool = True,
        dpi: float = 150,
    ) -> Any:
        """Draws the tree around its topmost executor; returns the figure of Matplotlib.

        `path` is a PNG or SVG file; None is the screen, and waits there as Matplotlib's `show` does. `labelsFormat` may
        name ${role}, ${name}, ${address}, ${pid}, ${port} and ${gridUniqueName}; None writes none. `figureSize` is
        in inches and by default large enough for the labels. Raises SoftgridError without the extra 'plot', and
        ValueError for a format that names something else.
        """
        _, networkx = plotting()
        place = checked_path(path)
        labels = {name: self._label(name, labelsFormat) for name in self.paths} if labelsFormat is not None else {}
        positions = self.positions()
        size, font = self._size(labels, fontSize)
        figure = new_figure(figureSize or size, place)
        axes = figure.add_subplot()
        graph = networkx.Graph(self.edges)
        graph.add_nodes_from(self.paths)
        networkx.draw_networkx_edges(graph, positions, ax=axes, edge_color="#343a40", width=0.9)
        for one, other in self.bridges:
            self._draw_bridge(axes, positions[one], positions[other])
        for role in ROLES:
            names = [name for name in self.paths if split_name(name)[0] == role]
            networkx.draw_networkx_nodes(
                graph,
                positions,
                nodelist=names,
                ax=axes,
                node_color=COLOURS[role],
                node_size=_SIZES[role],
                edgecolors="#212529",
                linewidths=0.6,
            )
        self._write_labels(axes, positions, labels, font)
        if legend:
            self._write_legend(axes)
        if title:
            axes.set_title(title)
        # Around the middle alike: a few executors in one line would else have a picture without width.
        extent = 1.07 * max((abs(place) for where in positions.values() for place in where), default=0.0) or 1.0
        axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
        axes.axis("off")
        put_out(figure, place, dpi)
        return figure

    # --- where things stand ------------------------------------------------------------------------------

    def positions(self) -> dict[str, tuple[float, float]]:
        """Each executor on the ring of its depth, within the angle that its workers take on the outermost ring."""
        below: dict[str, list[str]] = {name: [] for name in self.paths}
        for up, name in self.edges:
            below[up].append(name)
        widths: dict[str, float] = {}
        for name in sorted(self.paths, key=lambda name: -len(self.paths[name])):
            # Inner rings are narrower, so what stands there needs more of the angle for its label.
            widths[name] = max(1.8 if below[name] else 1.0, sum(widths[child] for child in below[name]))
        tops = [name for name, path in self.paths.items() if not path]
        found: dict[str, tuple[float, float]] = {}
        base = min((len(path) for path in self.paths.values()), default=0)
        total = sum(widths[name] for name in tops)

        def put(name: str, start: float, depth: int) -> None:
            middle = start + math.tau * widths[name] / total / 2
            radius = _ring(depth)
            found[name] = (radius * math.cos(middle), radius * math.sin(middle))
            start = middle - math.tau * sum(widths[child] for child in below[name]) / total / 2
            for child in below[name]:
                put(child, start, depth + 1)
                start += math.tau * widths[child] / total

        start = 0.0
        for name in tops:
            put(name, start, 0 if len(tops) == 1 else base + 1)
            start += math.tau * widths[name] / total
        return found

    def _size(self, labels: dict[str, str], font: float | None) -> tuple[tuple[float, float], float]:
        parents = {up for up, _ in self.edges}
        outer = sum(1 for name in self.paths if name not in parents)
        lines = max((text.count("\n") + 1 for text in labels.values()), default=1)
        size = 6 + outer * 0.09 * (lines if labels else 0.7)
        size = min(30.0, max(6.0, size))
        return (size, size), font if font is not None else (8.0 if outer <= 40 else 7.0)

    @staticmethod
    def _label(name: str, labels_format: str) -> str:
        role, given, address, pid, port = split_name(name)
        values = {"role": role, "name": given, "address": address, "pid": pid, "port": port, "gridUniqueName": name}
        try:
            return Template(labels_format).substitute(values)
        except (KeyError, ValueError) as exc:
            names = ", ".join(f"${{{key}}}" for key in values)
            raise ValueError(f"labelsFormat {labels_format!r} can't be filled in; it may name {names}.") from exc

    # --- what is drawn -----------------------------------------------------------------------------------

    def _draw_bridge(self, axes: Any, one: tuple[float, float], other: tuple[float, float]) -> None:
        from matplotlib.patches import FancyArrowPatch

        # Bent to the middle, so that it lies on no connection of the tree.
        cross = one[0] * other[1] - one[1] * other[0]
        bend = -0.18 if cross > 0 else 0.18
        axes.add_patch(
            FancyArrowPatch(
                one,
                other,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-",
                linestyle=":",
                linewidth=2.2,
                color=BRIDGE_COLOUR,
                zorder=1.5,
            )
        )

    def _write_labels(
        self, axes: Any, positions: dict[str, tuple[float, float]], labels: dict[str, str], font: float
    ) -> None:
        parents = {up for up, _ in self.edges}
        crowded = len(labels) > 24
        for name, text in labels.items():
            x, y = positions[name]
            if name not in parents and (x or y):
                # Outwards along the radius, so that neighbours on the ring do not write over each other.
                angle = math.degrees(math.atan2(y, x))
                turned = angle if -90 <= angle <= 90 else angle + 180
                gap = 0.075
                axes.text(
                    x * (1 + gap / math.hypot(x, y)),
                    y * (1 + gap / math.hypot(x, y)),
                    text,
                    fontsize=font,
                    rotation=turned,
                    rotation_mode="anchor",
                    ha="left" if -90 <= angle <= 90 else "right",
                    va="center",
                    linespacing=0.95,
                )
            else:
                box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
                axes.annotate(
                    text,
                    (x, y),
                    (0, -9),
                    textcoords="offset points",
                    fontsize=font - (1 if crowded else 0),
                    ha="center",
                    va="top",
                    bbox=box,
                    zorder=5,
                )

    def _write_legend(self, axes: Any) -> None:
        from matplotlib.lines import Line2D

        counts = Counter(split_name(name)[0] for name in self.paths)
        entries = [
            Line2D([], [], marker="o", linestyle="", color=COLOURS[role], markeredgecolor="#212529", label=text)
            for role in ROLES
            if counts[role]
            for text in [f"{counts[role]} {role}{'s' if counts[role] > 1 else ''}"]
        ]
        if self.bridges:
            count = len(self.bridges)
            text = f"{count} bridge{'s' if count > 1 else ''}"
            entries.append(Line2D([], [], color=BRIDGE_COLOUR, linestyle=":", linewidth=2.2, label=text))
        axes.legend(handles=entries, loc="upper left", frameon=False)


def _ring(depth: int) -> float:
    """The rings come closer together outwards, where there is more room on each."""
    return sum(1 / (1 + 0.12 * step) for step in range(depth))


def draw_speeds(results: list[dict[str, Any]], title: str, path: Any = None, dpi: float = 150) -> Any:
    """Draws the seconds of each transfer there and back, and their distribution; returns Matplotlib's figure."""
    plotting()
    place = checked_path(path)
    figure = new_figure((9, 3.8), place)
    seconds = [item["seconds"] for item in results]
    unit, name = (1000.0, "ms") if max(seconds) < 1 else (1.0, "s")
    times = [value * unit for value in seconds]
    mean = sum(times) / len(times)
    left, right = figure.subplots(1, 2)
    left.plot(range(1, len(times) + 1), times, "o-", color=COLOURS["manager"], markersize=4, linewidth=1)
    left.axhline(mean, color=COLOURS["orchestrator"], linestyle="--", linewidth=1, label=f"mean {mean:.3g} {name}")
    left.set_ylim(bottom=0)
    left.locator_params(axis="x", integer=True)
    left.set_xlabel("transfer")
    left.set_ylabel(f"there and back ({name})")
    left.legend(frameon=False)
    right.hist(times, bins=min(20, max(5, len(times) // 2)), color=COLOURS["manager"], edgecolor="white")
    right.set_xlabel(f"there and back ({name})")
    right.set_ylabel("transfers")
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    put_out(figure, place, dpi)
    return figure
