"""The errors of the serving room.

TrainyardError
├── StartError                   the server cannot start, or lost what it needs    exit 1
├── SettingsError                a flag, variable or line of the file is wrong     exit 2
└── ServingError                 one request is answered with an error body        its HTTP status
    ├── BadRequestError          the body or a header is wrong                     400
    │   └── RefusedSampleError   the model does not take one of the samples        400
    ├── UnauthorizedError        no valid API key                                  401
    ├── SignatureError           a webhook is not signed with the secret, or late  401
    ├── ForbiddenError           the API key does not allow this                   403
    ├── UnknownTargetError       no such path, model or version                    404
    ├── MethodNotAllowedError    the path has other methods                        405
    ├── BodyTimeoutError         the body did not arrive in time                   408
    ├── HeadTimeoutError         nor did the request line and the headers          408
    ├── OvertakenError           it does not fit what was done in the meantime     409
    ├── TooLargeError            the body, or its number of instances              413
    ├── UnsupportedMediaError    a media type or encoding that is not read         415
    ├── HeadTooLargeError        the request line and the headers                  431
    ├── QuotaError               the API key has used up what it may               429, Retry-After
    ├── ModelFailedError         the model cannot answer, whatever the request     500
    ├── NotSupportedError        a part of a protocol that is not offered          501
    ├── UnavailableError         starting, full, stopping, or the worker died      503, Retry-After
    └── DeadlineExceededError    no answer before the request's deadline           504
"""

from __future__ import annotations

from typing import Any, ClassVar

from bundle.errors import InputError, RequestError, TrainyardError


class StartError(TrainyardError):
    """The server cannot start, or lost what it needs to go on."""


class SettingsError(RequestError):
    """A flag, an environment variable or a line of the settings file is wrong."""


class ServingError(TrainyardError):
    """One request is answered with an error body.

    `code` is the machine-readable kind, stable for clients; `headers` go out with the answer.
    """

    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        code: str,
        field: str | None = None,
        remedy: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.code = code
        self.headers = headers or {}

    def told(self) -> str:
        """The message and the remedy as one text, for a protocol that has no place for more."""
        return f"{self}; {self.remedy}" if self.remedy else str(self)

    def body(self, request_id: str | int) -> dict[str, Any]:
        """The answer's JSON, as docs/serving.md has it."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.field is not None:
            error["field"] = self.field
        if self.remedy is not None:
            error["remedy"] = self.remedy
        return {"error": error, "id": request_id}


class BadRequestError(ServingError):
    """The body or a header is wrong."""

    status = 400

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_request",
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field, remedy=remedy)

    @classmethod
    def of_field(cls, field: str, message: str, *, remedy: str | None = None) -> BadRequestError:
        """The field `message`, such as "must be a list"."""
        return cls(f"{field} {message}", code="invalid_field", field=field, remedy=remedy)

    @classmethod
    def from_input_error(
        cls, error: InputError, *, field: str | None = None, path: str = ""
    ) -> BadRequestError:
        """The answer to a sample that cannot become tensors; `path` says which one of several."""
        message = f"{path}: {error}" if path else str(error)
        return cls(message, code="invalid_input", field=field or error.field, remedy=error.remedy)


class RefusedSampleError(BadRequestError):
    """The model does not take one of the samples; `index` says which one, if that is known."""

    def __init__(
        self,
        message: str,
        *,
        index: int | None,
        code: str = "invalid_input",
        field: str | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field)
        self.index = index

    def located(self, path: str, *, field: str | None) -> BadRequestError:
        """In the words of the request, where the sample has that path; empty for one alone."""
        message = f"{path}: {self}" if path else str(self)
        return BadRequestError(message, code=self.code, field=field)


class UnauthorizedError(ServingError):
    """No valid API key."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            code="unauthorized",
            remedy="send Authorization: Bearer KEY or X-API-Key: KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )


class SignatureError(ServingError):
    """A webhook is not signed with the secret, or too old."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(
            message, code="bad_signature", remedy="sign as MLflow does: see docs/rollout.md"
        )


class ForbiddenError(ServingError):
    """The API key does not allow this."""

    status = 403

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, code="forbidden", remedy=remedy)


class UnknownTargetError(ServingError):
    """No such path, model or version."""

    status = 404


class MethodNotAllowedError(ServingError):
    """The path has other methods."""

    status = 405

    def __init__(self, method: str, path: str, *, allowed: str) -> None:
        super().__init__(
            f"{path} does not take {method}",
            code="method_not_allowed",
            remedy=f"use {allowed}",
            headers={"Allow": allowed},
        )


class BodyTimeoutError(ServingError):
    """The body did not arrive in time."""

    status = 408


class HeadTimeoutError(ServingError):
    """The request line and the headers did not arrive in time."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the headers did not arrive within {seconds * 1000:g} ms",
            code="head_timeout",
            remedy="send the request line and the headers at once",
        )


class OvertakenError(ServingError):
    """What was asked for does not fit what was done in the meantime."""

    status = 409


class TooLargeError(ServingError):
    """The body, or the number of its instances, is over the limit."""

    status = 413


class UnsupportedMediaError(ServingError):
    """A media type, character set or content encoding that is not read."""

    status = 415

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, code="unsupported_media_type", remedy=remedy)


class HeadTooLargeError(ServingError):
    """The request line and the headers are over the limit."""

    status = 431

    def __init__(self, maximum: int) -> None:
        super().__init__(
            f"the request line and its headers are larger than {maximum} bytes",
            code="head_too_large",
            remedy="send less in the path and the headers",
        )


class QuotaError(ServingError):
    """The API key has used up what it may."""

    status = 429

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            code="quota_exceeded",
            remedy="wait for answers before sending more",
            headers={"Retry-After": "1"},
        )


class ModelFailedError(ServingError):
    """The model cannot answer, and no other request would change that."""

    status = 500


class NotSupportedError(ServingError):
    """A part of a protocol that is not offered."""

    status = 501

    def __init__(
        self, message: str, *, field: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, code="not_supported", field=field, remedy=remedy)


class UnavailableError(ServingError):
    """Not now: the server is starting, full or stopping, or has just lost the worker."""

    status = 503

    def __init__(
        self, message: str, *, code: str, retry_after: int = 1, remedy: str | None = None
    ) -> None:
        super().__init__(
            message,
            code=code,
            remedy=remedy or f"try again in {retry_after} s",
            headers={"Retry-After": str(retry_after)},
        )


class DeadlineExceededError(ServingError):
    """No answer before the request's deadline."""

    status = 504

    def __init__(self, timeout_ms: float) -> None:
        super().__init__(
            f"no answer within {timeout_ms:g} ms",
            code="deadline_exceeded",
            remedy="send timeout_ms with a larger value, or send less at once",
        )
