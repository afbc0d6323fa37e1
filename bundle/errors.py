"""The errors of a bundle, and the root of every other room's errors.

TrainyardError                 something failed                                       exit 1
├── RequestError               what was asked for is wrong                            exit 2
│   ├── InputError             one sample cannot become tensors
│   ├── ConflictError          it does not fit what was done in the meantime
│   └── NotFoundError          a model, version, alias or bundle that does not exist
└── BundleError                a bundle or what runs it is wrong                      exit 1
    ├── ManifestError          manifest.json is missing, unreadable or of another schema
    ├── IntegrityError         a file or a golden answer differs from the manifest
    ├── UnsafePathError        '..', an absolute path, a link, a device file
    ├── EngineError            the runtime refuses the model or cannot run as asked
    │   └── AnswerError        the model answers, but not what its signature says
    └── RegistryError          the registry cannot be reached, or refuses
        └── RecordError        it answers, but what it keeps of one model cannot be read

BaseException
└── Stopped                    SIGTERM asked the command to end                       exit 143
    └── Interrupted            Ctrl-C did                                             exit 130
"""

from __future__ import annotations

from typing import ClassVar


class TrainyardError(Exception):
    """An error whose message is ready for a user.

    `str(error)` is the message alone; `remedy` says what to do instead and `field` names what is
    wrong, so that a command line and an HTTP body can each place them where they belong.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, field: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.remedy = remedy


class Stopped(BaseException):
    """SIGTERM asked the command to end. The exit code is the shell's: 128 + the signal's number.

    No Exception, as KeyboardInterrupt is none: it may be raised in the middle of anything, and who
    catches every Exception would take it for a damaged file, or for a try that failed.
    """

    exit_code: ClassVar[int] = 143


class Interrupted(Stopped):
    """Ctrl-C asked the command to end."""

    exit_code = 130


class RequestError(TrainyardError, ValueError):
    """What the user asked for is wrong."""

    exit_code = 2


class InputError(RequestError):
    """One sample cannot become tensors."""


class ConflictError(RequestError):
    """What was asked for does not fit what was done in the meantime."""


class NotFoundError(RequestError):
    """A model, version, alias or bundle does not exist."""


class BundleError(TrainyardError, ValueError):
    """A bundle, or what runs or keeps it, is wrong."""


class ManifestError(BundleError):
    """manifest.json is missing, unreadable, of an unknown schema, or has a wrong field."""


class IntegrityError(BundleError):
    """A file is missing, stray or altered, or the golden answers differ."""


class UnsafePathError(BundleError):
    """A path leaves the bundle, or is not a plain file of its own."""


class EngineError(BundleError):
    """The runtime is absent, refuses the model, or does not run where it was asked to."""


class AnswerError(EngineError):
    """The model answers, but not what its signature says; no input is at fault."""


class RegistryError(BundleError):
    """The registry cannot be reached, or refuses."""


class RecordError(RegistryError):
    """The registry answers, but what it keeps of one model cannot be read."""


def reworded(error: TrainyardError, old: str, new: str) -> TrainyardError:
    """The same error, with another word in its message."""
    message = str(error).replace(old, new)
    return type(error)(message, field=error.field, remedy=error.remedy)


def first_line(error: BaseException) -> str:
    """What a foreign error says in its first line: libraries put pages below it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
