from __future__ import annotations

import subprocess
import sys

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
