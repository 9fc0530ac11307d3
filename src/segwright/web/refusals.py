"""What the server says when it does not do what was asked: a status, a short name, one sentence. Never a path or a stack."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

RETRY_SECONDS = 2
"""After how long to ask again where nothing better is known."""


class Refused(Exception):
    """An answer other than 2xx. status: of HTTP. code: one word for programs. message: for people.

    retry_after: seconds, for 503. close: the connection is closed after the answer, and the rest of the body not read.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, close: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after, self.close = retry_after, close

    def response(self) -> JSONResponse:
        """The answer: `{"error": {"code": …, "message": …}}`."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.close:
            headers["connection"] = "close"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return error(self.status, self.code, self.message, headers)


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers=headers)


def not_ready(why: str) -> Refused:
    return Refused(503, "not_ready", f"The model is not ready: {why}.", retry_after=RETRY_SECONDS)
