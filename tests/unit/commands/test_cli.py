"""The command line without a grid: arguments, exit codes, what goes to which output."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys

import pytest

from gridcompute.commands import agent, cases, cli, terminal
from gridcompute.errors import ApplicationError, ShareError, UsageError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A per-user folder of this test's own; the handlers of its log are removed."""
    monkeypatch.setenv("GRIDCOMPUTE_HOME", str(tmp_path / "home"))
    root = logging.getLogger()
    before, level = root.handlers[:], logging.getLogger("gridcompute").level
    yield tmp_path / "home"
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    logging.getLogger("gridcompute").setLevel(level)


@pytest.fixture
def run(monkeypatch):
    """Runs ``gridcompute cases ...`` with `function` in the place of what that command does."""

    def run_with(function, *arguments: str) -> int:
        monkeypatch.setattr(cli, "_cases", function)
        return cli.main(["cases", *arguments])

    return run_with


def failing(exc: BaseException):
    def function(options: argparse.Namespace) -> int:
        raise exc

    return function


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "there", "--machine", "PC-1", "cases"],
        ["cases", "--server", "there", "--machine", "PC-1"],
        ["--server", "there", "cases", "--machine", "PC-1"],
        ["--server", "elsewhere", "cases", "--machine", "PC-1", "--server", "there"],
    ],
)
def test_the_place_is_named_before_or_after_the_command(arguments):
    options = cli.parse(arguments)
    assert (options.command, options.server, options.machine) == ("cases", "there", "PC-1")


def test_nothing_named_is_none():
    options = cli.parse(["cases"])
    assert (options.server, options.machine, options.all, options.json) == (None, None, False, False)


def test_each_command_of_the_design_has_its_options():
    parse = cli.parse
    assert vars(parse(["demo", "--cases", "3", "--keep", "f", "--gui"])).items() >= {"cases": 3, "keep": "f"}.items()
    made = parse(["init", "f", "--mongodb-server", "h:1", "--user-group", "g", "--password", "p", "--instance", "7"])
    assert (made.folder, made.mongodb_server, made.user_group, made.password, made.instance) == (
        "f",
        "h:1",
        "g",
        "p",
        "7",
    )
    served = parse(["serve", "--user-group", "g", "--password", "p"])
    assert (served.data, served.host, served.port) == (None, "0.0.0.0", 27017)
    submitted = parse(["submit", "App", "a", "b", "--priority", "7", "--wait", "--json"])
    assert (submitted.application, submitted.files, submitted.priority) == ("App", ["a", "b"], 7)
    assert submitted.wait and submitted.json
    agent = parse(["agent", "--processes", "0", "--until-idle"])
    assert (agent.processes, agent.until_idle, parse(["agent"]).processes) == (0, True, None)
    for arguments in (["cancel", "1", "2"], ["retry", "1"], ["log", "1"], ["report", "f.txt"], ["doctor", "--json"]):
        assert parse(arguments).command == arguments[0]


def test_wrong_use_ends_with_2(capsys):
    for arguments in (["nix"], ["init", "f"], ["demo", "--cases", "0"], ["serve", "--port", "70000"]):
        with pytest.raises(SystemExit) as ended:
            cli.parse(arguments)
        assert ended.value.code == 2
    assert "0 is not a whole number from 1" in capsys.readouterr().err


def test_an_empty_name_of_a_file_is_not_the_current_folder(capsys):
    assert cli.main(["submit", "Copy", ""]) == 2
    assert "One of the files has an empty name" in capsys.readouterr().err


def test_a_program_without_outputs_does_its_work(run, monkeypatch):
    """As below ``>&-``, and in a program for windows that has no console."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(lambda options: print("said to nobody") or cli.DONE) == 0
    assert run(failing(UsageError("nor this"))) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_the_result_of_the_command_is_the_exit_code(run):
    assert run(lambda options: 1) == 1


def test_an_expected_error_is_one_sentence_and_the_log_has_more(run, capsys, home):
    exc = ApplicationError("send.py failed.", traceback="File send.py, line 3", output="what it printed")
    assert run(failing(exc)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "gridcompute: send.py failed.\n")
    log = (home / "gridcompute.log").read_text("utf-8")
    assert "File send.py, line 3" in log and "what it printed" in log and "Traceback" in log


def test_a_mistake_of_the_program_names_the_log_and_is_exit_code_1(run, capsys, home):
    assert run(failing(ZeroDivisionError("division by zero"))) == 1
    said = capsys.readouterr()
    assert "An error of the program itself: ZeroDivisionError" in said.err and str(home / "gridcompute.log") in said.err
    assert "Traceback" not in said.err
    assert "ZeroDivisionError" in (home / "gridcompute.log").read_text("utf-8")


def test_json_is_a_document_on_errors_too(run, capsys):
    assert run(failing(ShareError("No.")), "--json") == 2
    assert run(failing(KeyError("key")), "--json") == 1
    decoder, text = json.JSONDecoder(), capsys.readouterr().out
    first, end = decoder.raw_decode(text)
    assert first == {"errors": ["No."]} and "KeyError" in decoder.raw_decode(text[end:].lstrip())[0]["errors"][0]


def test_ctrl_c_is_exit_code_130(run, capsys):
    assert run(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "gridcompute: stopped\n"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRIDCOMPUTE_HOME", str(tmp_path / "file" / "home"))
    assert cli.main(["cases"]) == 2
    assert "Cannot make GridCompute's folder" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252", "utf-16"])
def test_json_is_whole_in_every_encoding(encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    cli._allow_any_name()
    document = {"files": ["Träger.txt", "梁.txt", "😀", "lone \udcff"]}
    terminal.print_json(document)
    assert json.loads(out.buffer.getvalue().decode(encoding)) == document


def test_a_name_that_the_terminal_cannot_show_is_escaped(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    cli._allow_any_name()
    print("Träger", flush=True)
    assert out.buffer.getvalue().strip() == rb"Tr\xe4ger"


def test_an_agent_whose_terminal_is_gone_goes_on(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    agent._say({"type": "case received", "id": "1", "application": "Copy"})
    agent._say({"type": "warning", "message": "nobody reads this"})
    assert terminal.complain("nor this") == 2


def test_acting_on_several_cases_does_what_it_can(capsys):
    def act(beginning: str):
        if beginning == "bad":
            raise UsageError("'bad' is no case.")
        return argparse.Namespace(id=beginning)

    assert cases._on_each(["1", "bad", "2"], act, "is cancelled") == 2
    said = capsys.readouterr()
    assert said.out == "1 is cancelled\n2 is cancelled\n" and said.err == "gridcompute: 'bad' is no case.\n"


def test_the_default_number_of_processes_leaves_a_core_to_the_person():
    assert agent.default_processes() >= 1
