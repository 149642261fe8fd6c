"""`make benchmark`: measures, prints a table, writes ``benchmarks/latest.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import grid


def main() -> None:
    figures = grid.measure(quick="--quick" in sys.argv)
    figures["machine_cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    width = max(map(len, figures))
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:>12,.2f}")
    target = Path(__file__).with_name("latest.json")
    target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
