"""When a computer lends itself."""

from __future__ import annotations

import sys
from datetime import datetime

import pytest

from gridcompute.machine.lending import Rules, on_battery, why_not_take_now, why_rest_now

noon, night = datetime(2026, 1, 2, 12, 0), datetime(2026, 1, 2, 23, 0)


def test_without_rules_nothing_rests():
    assert not Rules().any
    assert why_rest_now(Rules()) == "" and why_not_take_now(Rules()) == ""


@pytest.mark.parametrize(("idle", "rests"), [(0.0, True), (599.0, True), (600.0, False), (None, True)])
def test_only_while_i_am_away(idle, rests):
    assert bool(Rules(away_minutes=10).why_rest(noon, idle, False)) is rests


@pytest.mark.parametrize(
    ("begin", "end", "now", "rests"),
    [("18:00", "08:00", noon, True), ("18:00", "08:00", night, False), ("8:00", "17:30", noon, False)]
    + [("8:00", "12:00", noon, True)],
)
def test_only_between_two_times_over_midnight_too(begin, end, now, rests):
    assert bool(Rules(begin=begin, end=end).why_rest(now, None, False)) is rests


def test_not_on_battery():
    assert "battery" in Rules(not_on_battery=True).why_rest(noon, None, True)
    assert Rules(not_on_battery=True).why_rest(noon, None, False) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is that of Linux's kernel")
@pytest.mark.parametrize(
    ("supplies", "alone"),
    [
        ({}, False),
        ({"AC0/online": "0", "BAT0/status": "Discharging"}, True),
        ({"AC0/online": "1", "BAT0/status": "Charging"}, False),
        ({"BAT1/status": "Discharging"}, True),
        ({"BAT1/status": "Full"}, False),
    ],
)
def test_what_the_kernel_says_of_the_battery_is_heard(supplies, alone, monkeypatch, tmp_path):
    """A battery can't be pulled in a test: the folder that psutil reads is another one, with the kernel's files."""
    for name, text in supplies.items():
        file = tmp_path / name
        file.parent.mkdir()
        file.write_text(text + "\n")
        if name.startswith("BAT"):
            for key, value in (("energy_now", 20), ("energy_full", 50), ("power_now", 10), ("capacity", 40)):
                (file.parent / key).write_text(f"{value}000000\n" if key != "capacity" else f"{value}\n")
    monkeypatch.setattr("psutil._pslinux.POWER_SUPPLY_PATH", str(tmp_path))
    assert on_battery() is alone
    assert bool(why_rest_now(Rules(not_on_battery=True))) is alone


def test_memory_left_stops_taking_and_not_running():
    rules = Rules(memory_left=2_000_000_000)
    assert "1.5 GB" in rules.why_not_take(1_500_000_000)
    assert rules.why_not_take(2_500_000_000) == ""
    assert rules.why_rest(noon, 0.0, True) == ""


def test_rules_come_back_from_preferences_and_bad_ones_are_not_set():
    rules = Rules(away_minutes=5, begin="18:00", end="08:00", not_on_battery=True, memory_left=10)
    assert Rules.of(rules.document()) == rules
    assert Rules.of({"away_minutes": "soon", "begin": "25:00", "end": "8:00", "memory_left": -5}) == Rules()
    assert Rules.of(None) == Rules.of("text") == Rules()
    assert rules.words() == "away for 5 min, 18:00 to 08:00, not on battery, 1e-08 GB left"
