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
        "| what | GridCompute | beside it, in the same run |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows(figures)),
    ]
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    readme.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


def rows(figures: grid.Figures) -> list[tuple[str, str, str]]:
    """The README's table: what was measured, our figure, and what it is to be compared with."""
    depths = sorted({int(key.split("_")[3]) for key in figures if key.startswith("claims_per_s_")})

    def claims(claimers: int) -> tuple[str, str, str]:
        rates = " / ".join(f"{figures[f'claims_per_s_{depth}_waiting_{claimers}_claimers']:,.0f}" for depth in depths)
        waiting = " / ".join(f"{depth:,}" for depth in depths)
        flat = figures[f"claims_flatness_{claimers}_claimers_ratio"]
        who = "1 claimer" if claimers == 1 else f"{claimers} claimers"
        return f"claims by {who}, {waiting} cases waiting", f"{rates} /s", f"fastest to slowest: {flat:.2f}"

    return [
        (
            "200 no-op cases of 1 KB over two processes, each in a process of its own, to the last received",
            f"{figures['no_op_cases_per_s']:.1f} cases/s",
            f"a plain script with one interpreter a case: {figures['plain_script_cases_per_s']:.1f} cases/s",
        ),
        (
            "one such case on an idle grid, submit to received",
            f"{figures['one_case_median_ms']:.0f} ms, at the 95th percentile {figures['one_case_p95_ms']:.0f} ms",
            "",
        ),
        (
            "256 MB that don't shrink, in and out",
            f"{figures['big_case_s']:.2f} s",
            f"the four plain copies that it takes: {figures['big_case_four_copies_s']:.2f} s",
        ),
        ("submit of 1,000 small cases in one call", f"{figures['submit_cases_per_s']:,.0f} cases/s", ""),
        claims(1),
        claims(8),
    ]


if __name__ == "__main__":
    main()
