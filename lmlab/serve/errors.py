"""Errors of the interface: an HTTP status and OpenAI's error object, in one line of text."""

from __future__ import annotations

from typing import Any

from lmlab import LabError


class ApiError(Exception):
    """A request that is refused, or that failed."""

    def __init__(
        self, status: int, message: str, *, code: str, field: str | None = None, retry_after: int | None = None
    ) -> None:
        """`field` is the request's field that is wrong; `retry_after` is in seconds."""
        super().__init__(message)
        self.status, self.code, self.field, self.retry_after = status, code, field, retry_after

    def to_json(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.field, "code": self.code}}


def invalid(field: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """Return the error for a request that can never succeed; `field` is the one that is wrong."""
    return ApiError(400, message, code=code, field=field)


def of_lab_error(error: LabError, field: str | None = None) -> ApiError:
    """Return the error for what lmlab refuses of a request."""
    return invalid(field, str(error))
