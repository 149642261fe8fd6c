"""Random Counter: counts down from a random number and returns the time needed."""

import random
import time
from pathlib import Path

import gridcompute

SMALLEST, LARGEST = 100_000, 2_000_000  # of the random number; a million takes about a twentieth of a second
STAGES = 10  # parts of the countdown after which the progress is reported


def process_case(input_files):
    """Count down and return a file with one line: the input file's name, the number and the seconds it took."""
    number = random.randint(SMALLEST, LARGEST)
    seconds = count_down(number)
    name = " ".join(Path(input_files[0]).name.splitlines())
    output = Path("random_counter.txt")
    output.write_text(f"{name}: counted down from {number} in {seconds:.3f} s\n", encoding="utf-8")
    return [str(output)]


def count_down(number):
    """Count from `number` down to zero and return the seconds needed."""
    start = time.perf_counter()
    stage = max(number // STAGES, 1)
    left = number
    while left > 0:
        left -= 1
        if left % stage == 0:
            gridcompute.progress(1 - left / number, f"{left} to go")
    return time.perf_counter() - start
