"""Draws the program's icon: nine computers as tiles, one of them at work. Writes gridcompute/gui/icon.png and icon.ico.

python admin/draw_icon.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIZE, FINE = 256, 4  # drawn four times as large, then made smaller, for smooth edges
BACK, TILE, BUSY = "#0a58ca", "#9ec5fe", "#ffc107"
AT_WORK = {(1, 0), (2, 1), (0, 2)}


def draw() -> Image.Image:
    """The icon, 256 pixels wide."""
    side = SIZE * FINE
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, side - 1, side - 1), radius=side // 5, fill=BACK)
    margin, gap = side * 0.17, side * 0.055
    tile = (side - 2 * margin - 2 * gap) / 3
    for column in range(3):
        for row in range(3):
            left, top = margin + column * (tile + gap), margin + row * (tile + gap)
            fill = BUSY if (column, row) in AT_WORK else TILE
            pen.rounded_rectangle((left, top, left + tile, top + tile), radius=tile / 5, fill=fill)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    folder = Path(__file__).resolve().parents[1] / "gridcompute" / "gui"
    picture = draw()
    picture.save(folder / "icon.png", optimize=True)
    picture.save(folder / "icon.ico", sizes=[(16, 16), (24, 24), (32, 32), (48, 48), (64, 64), (128, 128), (256, 256)])


if __name__ == "__main__":
    main()
