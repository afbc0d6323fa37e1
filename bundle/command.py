"""How every command ends: one line on stderr, and an exit code that says whose fault it was."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from bundle.errors import RequestError, Stopped, TrainyardError
from bundle.quotation import shorten, shorten_words

if TYPE_CHECKING:
    from collections.abc import Callable

TRACEBACK_VARIABLE = "TRAINYARD_TRACEBACK"
INTERRUPTED = 130
BROKEN_PIPE = 141

LONGEST_WORD = 200
LONGEST_MESSAGE = 1_000
"""Characters of what argparse says, which repeats the arguments."""
LONGEST_PATH = 1_000
"""Characters of one word of any message: paths are to be whole, and nothing fills the screen."""


class CommandParser(argparse.ArgumentParser):
    """Raises RequestError for arguments that it does not take, where argparse would print its usage
    and leave.
    """

    def error(self, message: str) -> NoReturn:
        shown = shorten(shorten_words(message, LONGEST_WORD), LONGEST_MESSAGE)
        raise RequestError(shown, remedy=f"see {self.prog} --help")


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and leave the process with its exit code, or with that of the error it raised.

    With TRAINYARD_TRACEBACK=1 the traceback is printed in front of the line.
    """
    _open_closed_streams()
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        _report("interrupted")
        code = INTERRUPTED
    except TrainyardError as error:
        print_traceback_if_asked()
        _report(describe(error))
        code = error.exit_code
    except Stopped as error:
        print_traceback_if_asked()
        _report(str(error))
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - a command ends in one line, whatever happened
        asked = print_traceback_if_asked()
        _report(describe_unexpected(error, traceback_shown=asked))
        code = 1
    # How it ends is decided and told: Ctrl-C while modules are torn down is not to change it.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def describe(error: TrainyardError) -> str:
    """The message and, after a semicolon, the remedy."""
    return f"{error}; {error.remedy}" if error.remedy else str(error)


def describe_unexpected(error: Exception, *, traceback_shown: bool) -> str:
    """Its kind and message, and how to see where it comes from."""
    hint = "" if traceback_shown else f" (set {TRACEBACK_VARIABLE}=1 for the traceback)"
    return f"{type(error).__name__}: {error}{hint}"


def _report(message: str) -> None:
    print("error:", " ".join(shorten_words(message, LONGEST_PATH).split()), file=sys.stderr)


def print_traceback_if_asked() -> bool:
    """Of the error that is being handled. Returns whether it was asked for."""
    asked = os.environ.get(TRACEBACK_VARIABLE, "") not in ("", "0")
    if asked:
        traceback.print_exc()
    return asked


def _open_closed_streams() -> None:
    """Point the standard streams that were closed at nothing (`>&-`): Python has none in their
    place, and the next file or socket would get their number, and what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # as the streams are
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
