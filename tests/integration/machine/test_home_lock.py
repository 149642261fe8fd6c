from __future__ import annotations

import subprocess
import sys

from gridcompute.machine import lent
from gridcompute.machine.home import Home


def test_the_lock_of_a_killed_owner_is_free(tmp_path):
    home = Home(tmp_path / "home")
    program = f"""if True:
        import time
        from gridcompute.machine.home import Home
        with Home({str(home.path)!r}).lock("agent", "PC-7"):
            print("held", flush=True)
            time.sleep(100)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline().strip() == b"held"
        assert home.lock_owner() == {"pid": owner.pid, "role": "agent", "machine": "PC-7"}
        owner.kill()
    assert home.lock_owner() is None
    with home.lock("window", "PC-7"):
        assert home.lock_owner()["role"] == "window"


def test_what_softgrids_hold_is_added_up_and_ends_with_the_process_that_holds_it(tmp_path):
    folder = Home(tmp_path / "home").softgrid
    assert lent.held(folder) == 0
    program = f"""if True:
        import time
        from pathlib import Path
        from gridcompute.machine import lent
        with lent.hold(Path({str(folder)!r}), 3):
            print("held", flush=True)
            time.sleep(100)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline().strip() == b"held"
        with lent.hold(folder, 2):
            assert lent.held(folder) == 5
        assert lent.held(folder) == 3
        owner.kill()
    assert lent.held(folder) == 0 and list(folder.iterdir()) == []
