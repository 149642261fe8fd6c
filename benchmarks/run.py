"""`make benchmark`: measures, prints a table, writes ``benchmarks/latest.json`` (each key has its unit).

``--readme`` also puts the tables into README.md; ``--quick`` measures little, to see that everything runs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

top = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(top))

from benchmarks import grid  # noqa: E402 - the clone's own folder must be on the path before

BEGIN, END = "<!-- grid figures -->", "<!-- end of grid figures -->"


def main() -> None:
    quick, readme = "--quick" in sys.argv, "--readme" in sys.argv
    figures = grid.measure(quick)
    if "--grid" not in sys.argv:
        figures |= softgrid_figures(quick, readme)
    figures["machine_cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    width = max(map(len, figures))
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:>12,.2f}")
    target = Path(__file__).with_name("latest.json")
    target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written to {target}")
    if readme:
        write_table(top / "README.md", figures)


def softgrid_figures(quick: bool, readme: bool) -> grid.Figures:
    """The figures of ``benchmarks/softgrid.py``, which is a program of its own as softgrid's users write them."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        options = ["--json", str(rows), *(["--quick"] if quick else [])]
        if readme:
            options += ["--readme", str(top / "README.md")]
        subprocess.run([sys.executable, str(top / "benchmarks" / "softgrid.py"), *options], check=True, cwd=top)
        return {
            key: value
            for what, ours, bare in json.loads(rows.read_text(encoding="utf-8"))
            for key, value in (named(what, ours), named(f"bare {what}", bare))
            if key
        }


def named(what: str, figure: str) -> tuple[str, float]:
    """``("no-op round trip, direct", "0.40 ms")`` -> ``("softgrid_no_op_round_trip_direct_ms", 0.4)``."""
    number, _, unit = figure.partition(" ")
    if not unit:
        return "", 0.0
    words = re.sub(r"\W+", "_", what.split(" (")[0].replace(",", "")).strip("_").lower()
    return f"softgrid_{words}_{'per_s' if unit == '/s' else unit}", float(number.replace(",", ""))


def write_table(readme: Path, figures: grid.Figures) -> None:
    """Put the figures into the README, between their two marks."""
    lines = [
        f"Measured by `make benchmark` on {figures['machine_cores']:.0f} cores ({platform.system()}, Python "
        f"{platform.python_version()}):",
        "",
        "| figure | value |",
        "|---|---|",
        *(
            f"| {name} | {value:,.2f} |"
            for name, value in figures.items()
            if not name.startswith(("softgrid", "machine"))
        ),
    ]
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    readme.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
