"""A cantilever beam for CalculiX, solved by theory and by the finite-element method.

The model of `template/examples/CalculiX` is made here, so that the example, the demo and the tests are one thing; run
``python -m tests.support.cantilever`` to write it again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "template" / "examples" / "CalculiX"
EXAMPLE_LOADS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)

# Corners of a section (y, z) as fractions of width and height, in the order that makes +x the outward normal, then the
# nodes between them: CalculiX's order of a C3D20 element's faces.
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_SIDES = ((0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5))

# A quadratic face takes an even traction with these shares of it on its corners and sides; they sum to one.
_CORNER_SHARE, _SIDE_SHARE = -1 / 12, 1 / 3


@dataclass(frozen=True)
class Beam:
    """A straight beam along x, clamped at x = 0 and loaded downwards (-z) at its tip; millimetres, newtons, MPa."""

    length: float = 400.0
    width: float = 10.0
    height: float = 20.0
    young: float = 210_000.0
    poisson: float = 0.3
    elements: int = 20  # along the length; one fills the section, since a quadratic element bends exactly

    def deflection(self, load: float) -> float:
        """How far the tip sinks under `load` by the theory of slender beams: P L^3 / 3 E I."""
        inertia = self.width * self.height**3 / 12
        return load * self.length**3 / (3 * self.young * inertia)

    def input_text(self, load: object = "{{load}}") -> str:
        """The input file for CalculiX; `load` is a number, or the placeholder that a table of values fills."""
        lines = [
            "** A cantilever beam: clamped at x = 0, loaded downwards at its tip. Units: mm, N, MPa.",
            "** The load of each case comes from beam.csv, which has one row for each.",
            "*NODE, NSET=ALL",
            *(f"{number}, {x:g}, {y:g}, {z:g}" for number, x, y, z in self._nodes()),
            "*ELEMENT, TYPE=C3D20, ELSET=BEAM",
            *self._element_lines(),
            "*NSET, NSET=CLAMP",
            ", ".join(map(str, self._full_section(0))),
            "*NSET, NSET=TIP",
            ", ".join(map(str, self._full_section(self.elements))),
            "*MATERIAL, NAME=STEEL",
            "*ELASTIC",
            f"{self.young:g}, {self.poisson:g}",
            "*SOLID SECTION, ELSET=BEAM, MATERIAL=STEEL",
            "*BOUNDARY",
            "CLAMP, 1, 3",
            "** The amplitude carries the load, the lines below *CLOAD the share of each node of the tip.",
            "*AMPLITUDE, NAME=LOAD",
            f"0., 0., 1., {load}",
            "*STEP",
            "*STATIC",
            "*CLOAD, AMPLITUDE=LOAD",
            *(f"{node}, 3, {-share:.9f}" for node, share in self._tip_shares()),
            "*NODE PRINT, NSET=TIP",
            "U",
            "*NODE FILE",
            "U",
            "*EL FILE",
            "S",
            "*END STEP",
        ]
        return "\n".join(lines) + "\n"

    def _nodes(self) -> list[tuple[int, float, float, float]]:
        found = []
        for section in range(self.elements + 1):
            x = self.length * section / self.elements
            for number, (y, z) in zip(self._full_section(section), _CORNERS + _SIDES, strict=True):
                found.append((number, x, y * self.width, z * self.height))
            if section < self.elements:
                middle = x + self.length / self.elements / 2
                for number, (y, z) in zip(self._half_section(section), _CORNERS, strict=True):
                    found.append((number, middle, y * self.width, z * self.height))
        return found

    def _full_section(self, section: int) -> list[int]:
        return [section * 12 + place for place in range(1, 9)]

    def _half_section(self, section: int) -> list[int]:
        return [section * 12 + place for place in range(9, 13)]

    def _element_lines(self) -> list[str]:
        lines = []
        for section in range(self.elements):
            near, far = self._full_section(section), self._full_section(section + 1)
            nodes = near[:4] + far[:4] + near[4:] + far[4:] + self._half_section(section)
            numbers = [str(number) for number in [section + 1, *nodes]]
            lines += [", ".join(numbers[:11]) + ",", ", ".join(numbers[11:])]  # CalculiX reads 16 entries a line
        return lines

    def _tip_shares(self) -> list[tuple[int, float]]:
        tip = self._full_section(self.elements)
        return [(node, _CORNER_SHARE if place < 4 else _SIDE_SHARE) for place, node in enumerate(tip)]


def table_text(loads: Sequence[float]) -> str:
    """The table of values beside the input file: a column `load`, one row for each case."""
    return "load\n" + "".join(f"{load:g}\n" for load in loads)


def write_study(folder: Path, loads: Sequence[float] = EXAMPLE_LOADS, beam: Beam | None = None) -> Path:
    """Write ``beam.inp`` and ``beam.csv`` into `folder` and return the path of the input file."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "beam.inp"
    model.write_text((beam or Beam()).input_text(), encoding="utf-8", newline="\n")
    (folder / "beam.csv").write_text(table_text(loads), encoding="utf-8", newline="\n")
    return model


def tip_deflection(dat_text: str) -> float:
    """How far the tip sank, from the text of the ``.dat`` file: the mean over the nodes of the set TIP.

    Raises ValueError where the text has no displacements of that set.
    """
    block = re.search(r"displacements \(vx,vy,vz\) for set TIP[^\n]*\n\s*\n((?:\s+\d+(?:\s+\S+){3}\n)+)", dat_text)
    if not block:
        raise ValueError(f"no displacements of the set TIP in: {dat_text[:200]!r}")
    sinking = [-float(line.split()[3]) for line in block[1].splitlines()]
    return sum(sinking) / len(sinking)


if __name__ == "__main__":
    print(write_study(EXAMPLE_FOLDER))
