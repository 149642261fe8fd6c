"""Starts the program's window as the command does, and writes down where its widgets are, for a test's mouse.

    python driver.py MAP [--server FOLDER] [--machine NAME]

MAP is a JSON file: the path of each visible widget below the root, with its place on the screen and its text. The
program itself knows nothing of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tkinter as tk
from pathlib import Path
from tkinter import ttk


def describe(widget: tk.Misc) -> dict:
    """Place, text and state of a widget; of a list its rows with their places too."""
    found = {
        "x": widget.winfo_rootx(),
        "y": widget.winfo_rooty(),
        "w": widget.winfo_width(),
        "h": widget.winfo_height(),
        "needs": [widget.winfo_reqwidth(), widget.winfo_reqheight()],
        "class": widget.winfo_class(),
    }
    for option in ("text", "state"):
        try:
            found[option] = str(widget.cget(option))
        except tk.TclError:
            pass
    if isinstance(widget, ttk.Treeview):
        found["rows"] = rows_of(widget)
        found["selected"] = [widget.index(item) for item in widget.selection()]
    elif isinstance(widget, ttk.Entry):
        found["value"] = widget.get()
    elif isinstance(widget, tk.Text):
        found["value"] = widget.get("1.0", "end-1c")
    elif isinstance(widget, ttk.Notebook):
        found["tabs"] = [widget.tab(tab, "text") for tab in widget.tabs()]
        found["shown"] = widget.index("current")
        found["places"] = tab_places(widget)
    return found


def rows_of(tree: ttk.Treeview) -> list[dict]:
    rows = []
    for item in tree.get_children():
        box = tree.bbox(item)
        place = [tree.winfo_rootx() + box[0], tree.winfo_rooty() + box[1], box[2], box[3]] if box else None
        rows.append({"values": [str(value) for value in tree.item(item, "values")], "place": place})
    return rows


def tab_places(book: ttk.Notebook) -> list[list[int]]:
    """The middle of each tab, found by asking what lies where."""
    spans: dict[int, list[int]] = {}
    for x in range(0, book.winfo_width(), 4):
        try:
            spans.setdefault(int(book.index(f"@{x},12")), []).append(x)
        except (tk.TclError, ValueError):
            continue
    return [
        [book.winfo_rootx() + (spans[number][0] + spans[number][-1]) // 2, book.winfo_rooty() + 12]
        for number in sorted(spans)
    ]


def walk(root: tk.Misc, path: str, found: dict) -> None:
    """Tk's own dialogs are known to Tcl alone: they are described by their class and place."""
    for child in root.tk.splitlist(root.tk.call("winfo", "children", path)):
        child = str(child)
        try:
            if root.tk.call("winfo", "class", child) == "Menu":
                continue
            if root.tk.call("winfo", "viewable", child):
                found[child] = describe_by_path(root, child)
        except (tk.TclError, KeyError):
            continue
        walk(root, child, found)


def describe_by_path(root: tk.Misc, path: str) -> dict:
    try:
        return describe(root.nametowidget(path))
    except KeyError:
        x, y, w, h = (int(root.tk.call("winfo", what, path)) for what in ("rootx", "rooty", "width", "height"))
        kind = str(root.tk.call("winfo", "class", path))
        found = {"x": x, "y": y, "w": w, "h": h, "class": kind}
        if kind in ("Entry", "TEntry"):
            found["value"] = str(root.tk.call(path, "get"))
        return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("map", type=Path)
    parser.add_argument("--server")
    parser.add_argument("--machine")
    options = parser.parse_args()

    from gridcompute.commands.cli import make_grid
    from gridcompute.gui.start import start
    from gridcompute.machine.home import Home, set_up_logging

    def watch(gui) -> None:
        numbers = itertools.count(1)

        def write() -> None:
            root = gui.root
            found: dict = {
                "number": next(numbers),
                "title": root.title(),
                "phase": gui.state.phase,
                "in front": gui.state.in_front,
            }
            found["window"] = [root.winfo_rootx(), root.winfo_rooty(), root.winfo_width(), root.winfo_height()]
            found["frame"] = int(root.wm_frame(), 16)  # the window manager's window around it, with the title
            found["keyboard"] = str(root.tk.call("focus"))  # the widget that has it, empty while no window of ours has
            timers = [root.tk.call("after", "info", one) for one in root.tk.splitlist(root.tk.call("after", "info"))]
            found["animated"] = [str(timer) for timer in timers if "progressbar" in str(timer)]
            walk(gui.root, ".", found)
            aside = options.map.with_suffix(".aside")
            aside.write_text(json.dumps(found), "utf-8")
            aside.replace(options.map)
            gui.root.after(150, write)

        gui.root.after(50, write)

    home = Home()
    set_up_logging(home, "window")
    place = {"server": options.server, "machine": options.machine}
    raise SystemExit(start(home, **place, make_grid=make_grid, on_window=watch))


if __name__ == "__main__":
    main()
