"""A window of another program from which files are dragged, as from a file manager: python drag_source.py FILE..."""

from __future__ import annotations

import sys
import tkinter as tk
from pathlib import Path

from tkinterdnd2 import COPY, DND_FILES, TkinterDnD

root = TkinterDnD.Tk()
root.title("Files")
root.geometry("120x80+5+5")
label = tk.Label(root, text="drag me", background="white")
label.pack(fill="both", expand=True)
label.drag_source_register(1, DND_FILES)
# The library hands the names to Tk as text and calls them numbers; a file manager sends bytes, as this does.
root.tk.eval("proc ::tkdnd::xdnd::getFormatForType type { return STRING }")
files = tuple(Path(name).as_uri() for name in sys.argv[1:])
label.dnd_bind("<<DragInitCmd>>", lambda event: (COPY, DND_FILES, files))
root.mainloop()
