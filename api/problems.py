"""Errors as `application/problem+json` (RFC 9457): what is wrong, where, and what is accepted instead."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.reader import QueryFailed, TooMuch, WarehouseAway
from schemas.errors import Permanent, Retryable

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = {"Retry-After": "2"}
_QUOTED: Final = re.compile(r"'([^']*)'")
_log = logging.getLogger(__name__)


class Problem(Exception):
    """Raise it anywhere under a route. `errors`: one entry a field, with `allowed` where the values are few."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.headers = list(errors), dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer on the wire."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(body, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def invalid(field: str, message: str, allowed: Sequence[str] | None = None) -> Problem:
    """A parameter that cannot be used."""
    error: dict[str, Any] = {"field": field, "message": message}
    if allowed is not None:
        error["allowed"] = list(allowed)
    text = f"{field}: {message}" + (f"; allowed: {', '.join(allowed)}" if allowed else "")
    return Problem(422, "invalid-parameter", text, errors=[error])


def not_found(what: str, name: str, allowed: Sequence[str] | None = None) -> Problem:
    """Something that is not there, for this key."""
    error: dict[str, Any] = {"field": what, "message": "is not known here"}
    if allowed is not None:
        error["allowed"] = list(allowed)
    return Problem(404, "not-found", f"there is no {what} {name[:100]!r}", errors=[error])


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_field_error(one) for one in error.errors()]
        unreadable = any(one["type"] == "json_invalid" for one in error.errors())
        detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
        kind = "unreadable-body" if unreadable else "invalid-parameter"
        return Problem(400 if unreadable else 422, kind, detail, errors=errors).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(error.status_code).phrase
        kind = phrase.lower().replace(" ", "-")
        return Problem(error.status_code, kind, f"{phrase}.", headers=error.headers).response()

    @app.exception_handler(Retryable)
    async def _retryable(_: Request, error: Retryable) -> JSONResponse:
        kind = "warehouse-away" if isinstance(error, WarehouseAway) else "try-again"
        return Problem(503, kind, str(error), headers=RETRY_AFTER).response()

    @app.exception_handler(Permanent)
    async def _permanent(_: Request, error: Permanent) -> JSONResponse:
        if isinstance(error, TooMuch):
            return Problem(422, "too-much", str(error)).response()
        if isinstance(error, QueryFailed):
            _log.error("%s", error)
            return Problem(500, "internal-error", "a statement failed; the log of this process says why").response()
        return Problem(422, "refused", str(error)).response()

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
        return Problem(500, "internal-error", "this should not happen; the log of this process says why").response()


def _field_error(error: Mapping[str, Any]) -> dict[str, Any]:
    place = [str(part) for part in error["loc"] if part not in ("query", "body", "path")]
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found: dict[str, Any] = {"field": ".".join(place), "message": message}
    if error["type"] == "extra_forbidden":
        found["message"] = "is not a parameter of this endpoint; check the spelling"
    if error["type"] in ("enum", "literal_error"):
        found["allowed"] = _QUOTED.findall(str(error.get("ctx", {}).get("expected", "")))
    return found
