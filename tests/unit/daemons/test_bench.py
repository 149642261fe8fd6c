"""Rule 4: the machine on which cases of several people fail is benched for that application."""

from __future__ import annotations

from gridcompute import config
from gridcompute.daemons.bench import Bench


def fail(bench: Bench, *users: str, now: float = 0.0, application: str = "Solver") -> list[float | None]:
    return [bench.failed(application, user, now) for user in users]


def test_failures_of_several_peoples_cases_in_a_row_bench_the_machine():
    bench = Bench()

    assert fail(bench, "anna", "ben", "anna") == [None, None, config.bench_time]
    assert bench.benched("Solver", config.bench_time - 1)
    assert not bench.benched("Solver", config.bench_time)


def test_failures_of_one_persons_cases_are_not_the_machines():
    bench = Bench()

    assert fail(bench, *["anna"] * 20) == [None] * 20
    assert not bench.benched("Solver", 0.0)


def test_a_success_ends_the_row_and_forgets_earlier_benches():
    bench = Bench()
    fail(bench, "anna", "ben")
    bench.succeeded("Solver")
    assert fail(bench, "anna", "ben") == [None, None]

    fail(bench, "anna")
    bench.succeeded("Solver")
    assert fail(bench, "anna", "ben", "anna")[-1] == config.bench_time


def test_each_bench_lasts_twice_as_long_up_to_an_hour():
    bench = Bench()
    benches = [fail(bench, "anna", "ben", "anna")[-1] for _ in range(6)]

    assert benches == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]


def test_a_bench_is_for_one_application():
    bench = Bench()
    fail(bench, "anna", "ben", "anna", application="Solver")

    assert not bench.benched("Other", 0.0)
