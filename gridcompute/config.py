"""Names, version and intervals of the program: the documentation's chapter 1.5.2, with units.

Intervals are seconds as float unless the name says otherwise. A grid may override the ones marked *grid* in its
``settings.txt``, since every machine of a grid must agree on them (`gridcompute.grid.settings`).
"""

from __future__ import annotations

import os
from pathlib import Path

program_name = "GridCompute"
"""Name of the program; the per-user folder is called so too."""

version = "0.3.0"
"""Current version; the database's collection *versions* says what it may do."""

author = "The GridCompute authors"
"""Author of the program."""

copyright = "Copyright 2014 Boris Dayma; copyright 2026 the GridCompute authors"
"""Copyright, as *about* shows it."""

title_windows = "GridCompute"
"""Beginning of the title of every window."""

max_number_process = os.cpu_count() or 1
"""Largest number of cases that this computer processes side by side."""

gui_refresh_interval = 100
"""Milliseconds between two looks of the interface at its queue of events."""

db_connect_frequency = 10.0
"""Seconds before the database is asked again if no case or result was found and no change stream tells of one."""

db_connect_first = 0.25
"""Seconds of the first pause of that polling; it grows to `db_connect_frequency` with jitter."""

db_heartbeat_frequency = 15.0
"""*grid*. Seconds between two heartbeats; must stay below a third of `db_heartbeat_dead`."""

db_heartbeat_dead = 60.0
"""*grid*. Seconds of a lease: without a heartbeat for that long a process may be considered dead."""

db_heartbeat_dead_limit = 120.0
"""Seconds: `db_heartbeat_dead` is never above this, whatever settings.txt says."""

db_patience = 20.0
"""Seconds after which a command other than agent, serve and the window says that the grid can't be reached."""

daemon_pause = 0.05
"""Seconds that a daemon rests between two of its turns while it is busy."""

daemon_stop = 5.0
"""Seconds in which a daemon ends its cases and hands them back when it is asked to stop (10 s with the agent's own)."""

attempts = 3
"""*grid*. Failures of the application after which a case is an error."""

receive_attempts = 3
"""Failures of receive.py after which a processed case is an error."""

losses_before_alone = 2
"""Losses on different machines after which a case runs alone on a machine; a loss then is an error."""

avoid_time = 30.0
"""Seconds for which a machine on which a case failed leaves that case to others."""

share_avoid_time = 5.0
"""The same where the shared folder was away: the machine asks for nothing before it reads well again."""

avoid_limit = 8
"""Machines that a case remembers at most in its list of machines to avoid."""

retry_pause = 1.0
"""Seconds before a failed case may be claimed again; doubled at each failure up to `retry_pause_limit`."""

retry_pause_limit = 60.0
"""Seconds: the longest of these pauses."""

bench_failures = 3
"""Failures in a row on one machine, of cases of at least two people, after which it is benched for that application."""

bench_time = 300.0
"""Seconds of the first bench; doubled each time up to an hour."""

received_shown = 24 * 3600.0
"""Seconds for which a received case stays in the list of the window."""

received_listed = 500
"""Number of received cases that the list of the window holds at most, the newest."""

retention_days = 30.0
"""*grid*. Days after which archives of cases in error or cancelled are removed."""


def log_path(home: Path) -> Path:
    """Path of the log file in the per-user folder `home`; all processes of a user write this one."""
    return home / "gridcompute.log"


def pid_file(home: Path) -> Path:
    """Path of the file in `home` that tells who is the single instance: its pid, role and machine, as JSON.

    The lock beside it decides; this file only says who holds it.
    """
    return home / "lock-owner.json"


database_name = "gridcompute"
"""Name of the database on the server; the team's user lives in it."""

case_format = 1
"""Format of the case documents that this version writes; newer ones are shown and never changed."""

output_tail_bytes = 16_384
"""Bytes of the end of an application's output that are kept in the database."""

output_limit_bytes = 20_000_000
"""Bytes of an application's output that are kept in a file on the machine that ran it: the beginning and the end."""

archive_limit_bytes = 1 << 40
"""Bytes that the files of one archive may have when unpacked."""

archive_limit_files = 1_000_000
"""Files and folders that one archive may hold."""

default_priority = 50
"""Priority of a case where none is given, from 0 to 100; higher ones are claimed first."""

send_time_limit = 600.0
"""Seconds that `select_input_files` may take for one file."""

receive_time_limit = 3600.0
"""Seconds that `receive_case` may take."""

rest_limit = 600.0
"""Seconds for which a case rests while its machine's owner needs the computer, before it goes back to the grid."""

presence_kept = 7 * 86_400.0
"""Seconds after its last sign of life for which a machine is still shown."""

environment_server = "GRIDCOMPUTE_SERVER"
"""Variable of the environment that names the shared folder."""

environment_password = "GRIDCOMPUTE_PASSWORD"
"""Variable of the environment that holds the user group's password, where settings.txt has none."""

environment_home = "GRIDCOMPUTE_HOME"
"""Variable of the environment that names the per-user folder."""

server_file = "server.txt"
"""Name of the file, beside the program or in the current folder, that holds the path of the shared folder."""

versions_check_interval = 3600.0
"""Seconds between two readings of the collection *versions*."""
