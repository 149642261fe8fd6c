"""Logs go to the console and to files, here and up to the orchestrator."""

from __future__ import annotations

import pytest

from gridcompute.softgrid import Globals

from .conftest import call, launch, poll


@pytest.fixture(autouse=True)
def _fresh_logger(monkeypatch):
    monkeypatch.setattr(Globals.Logger, "_instance", None)


def test_a_log_of_a_worker_reaches_every_executor_above(make_grid, capsys, tmp_path):
    Globals.RULES["log_router_kwargs"] = {
        "logToFile": True,
        "logToStdout": False,
        "logFileBasename": str(tmp_path / "r"),
    }
    grid = make_grid()
    (router,) = launch(grid, "router")
    (worker,) = launch(grid, "worker", upgrid=router)

    def tell(executor, words):
        executor.log_and_transfer("info", words, data={"n": 1})
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            import traceback

            executor.log_and_transfer("error", "it failed", tback=traceback.format_exc())

    call(grid, tell, worker, "from the bottom", first=True)
    printed: list[str] = []

    def said(words):
        printed.append(capsys.readouterr().out)
        return words in "".join(printed)

    poll(lambda: said("ZeroDivisionError"))
    line = next(line for line in "".join(printed).splitlines() if "from the bottom" in line)
    assert worker in line and " info " in line
    assert "{'n': 1}" in "".join(printed)
    poll(lambda: (tmp_path / "r.log").exists() and "ZeroDivisionError" in (tmp_path / "r.log").read_text())


def test_a_log_may_start_at_another_executor(make_grid, capsys, tmp_path):
    Globals.RULES["log_manager_kwargs"] = {"logToFile": True, "logFileBasename": str(tmp_path / "m")}
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    (worker,) = launch(grid, "worker")
    call(
        grid,
        lambda e, m: e.transfer_to_executor_and_log(m, "warn", "by way of the manager"),
        worker,
        manager,
        first=True,
    )
    printed: list[str] = []
    poll(lambda: printed.append(capsys.readouterr().out) or "by way of the manager" in "".join(printed))
    text = (tmp_path / "m.log").read_text()
    assert "by way of the manager" in text and worker in text


def test_a_flood_of_logs_is_bounded_and_answers_pass_it(make_grid):
    Globals.RULES["log_orchestrator_kwargs"] = {"logToStdout": False}
    grid = make_grid()
    (worker,) = launch(grid, "worker")

    def flood(executor):
        for n in range(50_000):
            executor.log_and_transfer("info", f"line {n}")
        return len(executor._logs)

    (waiting,) = call(grid, flood, worker, first=True)
    assert waiting <= 10_000
    assert call(grid, "gridPath", worker)


def test_the_logger_is_one_and_knows_its_types(tmp_path, capsys):
    made = []

    class Mine(Globals.Logger):
        def custom_init(self, *args, **kwargs):
            made.append(kwargs)

    logger = Mine(
        logToFile=True, logFileBasename=str(tmp_path / "l"), logTypes={"special": {"stdoutFlag": False}}, extra=3
    )
    assert made == [{"extra": 3}]
    logger.softgrid_log("special", "to the file", "worker|W@h[1]:2")
    logger.softgrid_log("info", "to both")
    logger.softgrid_log("critical", "much", data=[1], tback="line 1\nline 2")
    out = capsys.readouterr().out
    assert "to both" in out and "to the file" not in out and "    line 2" in out
    assert "to the file" in (tmp_path / "l.log").read_text()
    again = Globals.Logger(stdoutMaxLevel=10, logToFile=False)
    assert again is logger
    again.softgrid_log("error", "too high")
    assert "too high" not in capsys.readouterr().out


def test_no_password_is_logged(make_grid, capsys):
    grid = make_grid(password="verysecret")
    (worker,) = launch(grid, "worker")
    grid.log_and_transfer("info", "the password is verysecret")
    call(
        grid,
        lambda e, p: e.log_and_transfer("info", f"it is {p}"),
        worker,
        grid.passwords["workers"][worker],
        first=True,
    )

    def fail():
        raise ValueError("verysecret")

    (status,) = call(grid, fail, worker)
    grid.disconnect(kill=False)
    out = capsys.readouterr().out
    assert "***" in out and "verysecret" not in out + status.error


def test_a_long_log_is_shortened_and_those_beside_it_come_too(make_grid, capsys):
    grid = make_grid()
    (worker,) = launch(grid, "worker")

    def tell(executor):
        import traceback

        for _ in range(3):
            executor.log_and_transfer("info", "begin" + "ü" * 300_000 + "end", data="ü" * 300_000)
        executor.log_and_transfer("warn", "afterwards", tback=traceback.extract_stack())

    call(grid, tell, worker, first=True)
    printed: list[str] = []
    poll(lambda: printed.append(capsys.readouterr().out) or "afterwards" in "".join(printed))
    assert "".join(printed).count("beginü") == 3
    assert ", in tell" in "".join(printed)
