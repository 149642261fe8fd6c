"""Pictures of a grid, the speed of its transfers, and what is said where they can't be drawn."""

from __future__ import annotations

import math
import re
import sys
import xml.etree.ElementTree

import pytest

from gridcompute.softgrid.Collections import GridGraph
from gridcompute.softgrid.errors import SoftgridError

from .conftest import launch


def large_grid():
    """15 routers, 35 managers and 160 workers below an orchestrator."""
    paths = {"orchestrator|Orchestrator@10.0.0.1[100]:5000": []}
    for role, count, above in (("router", 15, "orchestrator"), ("manager", 35, "router"), ("worker", 160, "manager")):
        ups = [name for name in paths if name.startswith(above)]
        for number in range(count):
            up = ups[number * 4 % len(ups)]
            name = f"{role}|{role.capitalize()}@10.0.0.{number % 9}[{len(paths) + 100}]:{5000 + len(paths)}"
            paths[name] = [*paths[up], up]
    return paths


def overlapping(boxes):
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_no_node_and_no_label_hides_another_in_a_grid_of_211_executors(tmp_path):
    graph = GridGraph(large_grid())
    places = list(graph.positions().values())
    assert len(places) == 211
    figure = graph.draw_graph(tmp_path / "grid.png", labelsFormat="${role}\n${pid}", dpi=50)
    axes = figure.axes[0]
    figure.canvas.draw()
    nearest = min(
        math.dist(a, b)
        for i, a in enumerate(axes.transData.transform(places))
        for b in axes.transData.transform(places[:i])
    )
    assert nearest * 72 / figure.dpi > 10.5, "a worker's circle is 9.5 points wide"
    texts = [text for text in axes.texts if text.get_text()]
    assert len(texts) == 211
    # A turned label's box is larger than its letters, so only those that stand straight are compared by boxes.
    straight = [text.get_window_extent() for text in texts if text.get_rotation() == 0]
    assert len(straight) >= 51
    assert len(overlapping(straight)) == 0
    assert (tmp_path / "grid.png").stat().st_size > 50_000


def test_a_few_executors_in_one_line_have_a_whole_picture(tmp_path):
    top = "orchestrator|Orchestrator@10.0.0.1[100]:5000"
    paths = {top: [], "router|Router@10.0.0.1[101]:5001": [top], "worker|Worker@10.0.0.1[102]:5002": [top]}
    for some in (paths, {top: []}):
        (axes,) = GridGraph(some).draw_graph(tmp_path / "grid.png").axes
        assert axes.get_xlim() == axes.get_ylim() and axes.get_xlim()[1] >= 1.0


def test_roles_have_their_colours_and_bridges_are_dotted_and_labels_filled_in(tmp_path):
    paths = {name: path for name, path in large_grid().items() if "worker" not in name}
    managers = [name for name in paths if name.startswith("manager")]
    GridGraph(paths, [(managers[0], managers[20])]).draw_graph(
        tmp_path / "grid.svg", labelsFormat="${role} ${name} ${address} ${pid} ${port}", title="A grid"
    )
    text = (tmp_path / "grid.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    for colour in ("#e03131", "#2f9e44", "#1c7ed6"):
        assert colour in text
    assert "#fab005" not in text, "there are no workers"
    assert text.count("stroke-dasharray") == 2, "the bridge, and its line in the legend"
    assert "manager Manager 10.0.0." in text and "1 bridge" in text and "35 managers" in text
    with pytest.raises(ValueError, match="nonsense"):
        GridGraph(paths).draw_graph(tmp_path / "a.png", labelsFormat="${nonsense}")
    with pytest.raises(SoftgridError, match=r"PNG or SVG"):
        GridGraph(paths).draw_graph(tmp_path / "a.gif")


def test_a_grid_draws_itself_with_its_bridges(make_grid, tmp_path, monkeypatch):
    grid = make_grid()
    managers = launch(grid, "manager", 2)
    workers = [launch(grid, "worker", 1, manager)[0] for manager in managers]
    assert grid.build_bridge(*workers)
    assert grid.build_bridge(workers[0])
    figure = grid.visualize_grid(tmp_path / "grid.svg", labelsFormat="${pid}")
    entries = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert entries == ["1 orchestrator", "2 managers", "2 workers", "2 bridges"]
    assert {text.get_text() for text in figure.axes[0].texts} == {
        name.split("[")[1].split("]")[0] for name in [grid.gridUniqueName, *managers, *workers]
    }
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(SoftgridError, match=r"networkx.*pip install \"gridcompute\[plot\]\""):
        grid.visualize_grid(tmp_path / "grid.png")


def test_transfer_speed_is_assessed_between_any_two_and_drawn(make_grid, tmp_path, monkeypatch):
    grid = make_grid()
    one, other = launch(grid, "worker", 2)
    results = grid.assess_transfer_speed(one, number=3, data=list(range(1000)), plot=tmp_path / "speed.png")
    assert [item["number"] for item in results] == [0, 1, 2]
    for item in results:
        assert (item["from"], item["to"], item["steps"]) == (grid.gridUniqueName, one, 1)
        assert item["bytes"] > 2 * 1000 and item["seconds"] > 0
        assert item["bytes_per_second"] == item["bytes"] / item["seconds"]
    assert (tmp_path / "speed.png").stat().st_size > 5000
    (two_steps,) = grid.assess_transfer_speed(one, fromGUN=other, number=1)
    assert two_steps["steps"] == 2 and two_steps["from"] == other
    assert grid.build_bridge(one, other)
    assert grid.assess_transfer_speed(one, fromGUN=other, number=1)[0]["steps"] == 1
    gone = re.sub(r"\[\d+\]", "[1]", one)
    status = grid.assess_transfer_speed(gone, number=1, timeout=5)
    assert not status and gone in status.error
    status = grid.assess_transfer_speed(one, data=list(range(1_000_000)), number=1, timeout=0.001)
    assert not status and "within 0.001 s" in status.error
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "gridcompute[plot]" in grid.assess_transfer_speed(one, plot=True).error
