from __future__ import annotations

import subprocess
import sys

import pytest

from bundle.command import CommandParser, run_command
from bundle.errors import BundleError, Interrupted, RequestError, Stopped


def ending(main, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(main)
    return stopped.value.code, capsys.readouterr().err


def failing(error):
    def main():
        raise error

    return main


def test_arguments_are_not_repeated_in_full():
    parser = CommandParser(prog="x")
    parser.add_argument("--n", type=int)
    for arguments in (["--n", "9" * 5_000], ["a" * 5_000], ["a"] * 5_000):
        with pytest.raises(RequestError, match="…") as found:
            parser.parse_args(arguments)
        assert len(str(found.value)) <= 1_000


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_command_exits_with_what_main_returns(returned, code, capsys):
    assert ending(lambda: returned, capsys) == (code, "")


def test_command_prints_one_line_with_the_remedy_when_the_request_is_wrong(capsys):
    error = RequestError("devices=8, but 0 GPUs\nwere found", remedy="use devices=1")

    assert ending(failing(error), capsys) == (
        2,
        "error: devices=8, but 0 GPUs were found; use devices=1\n",
    )


def test_a_word_that_would_fill_the_screen_is_cut(capsys):
    code, told = ending(
        failing(RequestError(f"x={'9' * 5_000} is wrong", remedy="mend it")), capsys
    )
    assert code == 2
    assert told.endswith("9… is wrong; mend it\n")
    assert len(told) < 1_100


def test_command_exits_with_1_when_a_bundle_is_wrong(capsys):
    assert ending(failing(BundleError("broken")), capsys) == (1, "error: broken\n")


def test_command_names_an_unexpected_error_and_how_to_see_its_traceback(capsys):
    code, text = ending(failing(KeyError("weights")), capsys)

    assert code == 1
    assert text == ("error: KeyError: 'weights' (set TRAINYARD_TRACEBACK=1 for the traceback)\n")


@pytest.mark.parametrize("error", [KeyError("weights"), RequestError("wrong")])
def test_command_prints_the_traceback_when_it_is_asked_for(error, capsys, monkeypatch):
    monkeypatch.setenv("TRAINYARD_TRACEBACK", "1")

    _, text = ending(failing(error), capsys)

    assert text.startswith("Traceback (most recent call last)")
    assert text.splitlines()[-1].startswith("error: ")


def test_command_exits_with_130_when_interrupted(capsys):
    assert ending(failing(KeyboardInterrupt()), capsys) == (130, "error: interrupted\n")


@pytest.mark.parametrize(("error", "code"), [(Stopped, 143), (Interrupted, 130)])
def test_command_exits_as_a_shell_would_when_a_signal_stopped_it(error, code, capsys):
    stopped = error("stopped at step 3")

    assert ending(failing(stopped), capsys) == (code, "error: stopped at step 3\n")


def test_command_keeps_the_exit_code_when_main_exits_itself(capsys):
    assert ending(failing(SystemExit(2)), capsys) == (2, "")


@pytest.mark.parametrize("lines", [1, 200_000])
def test_command_is_quiet_when_nobody_reads_its_output(lines):
    program = (
        "from bundle.command import run_command\n"
        f"run_command(lambda: [print('line') for _ in range({lines})] and None)"
    )
    reader = f'{sys.executable} -c "{program}" | true; exit ${{PIPESTATUS[0]}}'

    done = subprocess.run(["bash", "-c", reader], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.returncode in (0, 141)  # a short line may be written before the reader is gone


ENDING = """
import atexit, os, signal
from bundle.command import run_command
atexit.register(os.kill, os.getpid(), signal.SIGINT)
run_command(lambda: 3)
"""


def test_command_ends_as_it_told_when_ctrl_c_comes_while_it_is_torn_down():
    ended = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (3, "")


CLOSED = """
import os, sys, tempfile
from bundle.command import run_command

def main():
    print("an answer that nobody wants")
    with tempfile.TemporaryFile() as file:
        assert file.fileno() > 2
    # What this starts may write, too.
    assert os.system("echo more") == 0

run_command(main)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "2>&-"])
def test_command_ends_as_it_would_when_a_stream_is_closed(closed):
    shell = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, CLOSED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_is_not_told_on_stdout_when_stderr_is_closed():
    program = "from bundle.command import run_command\nrun_command(lambda: 1 / 0)"
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
