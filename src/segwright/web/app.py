"""The application: its state, its pages, what it says of errors. No route reads a file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from segwright.web import pages
from segwright.web.guard import Guard
from segwright.web.predicting import GONE, add_predict
from segwright.web.refusals import RETRY_SECONDS, Refused, error, not_ready
from segwright.web.service import Service


def build_app(service: Service, *, hosts: Collection[str] = (), token: str | None = None) -> ASGIApp:
    """The application with its guard. hosts: further names under which it may be asked. token: None asks for none."""
    app = FastAPI(
        title="Segwright",
        summary="Pictures in, classes of every pixel out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_state(app, service)
    add_predict(app, service)
    _add_pages(app)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    return Guard(app, admission=service.admission, counters=service.counters, hosts=hosts, token=token)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/live", tags=["state"])
    async def live() -> dict[str, bool]:
        """The server answers."""
        return {"live": True}

    @app.get("/ready", tags=["state"])
    async def ready() -> Response:
        """200 while pictures are taken; 503 while the model loads, and when the server stops."""
        if service.ready:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False}, 503, headers={"retry-after": str(RETRY_SECONDS)})

    @app.get("/model", tags=["state"])
    async def model() -> dict[str, Any]:
        """Classes and colours, licence of the weights, hashes of weights and provenance, what goes in."""
        if service.engine.model is None:
            raise not_ready("it is loading")
        limits = service.limits
        most = {"bytes": limits.body_bytes, "pixels": limits.pixels, "pictures": limits.pictures}
        return service.engine.model | {"limits": most}

    @app.get("/metrics", tags=["state"])
    async def metrics() -> Response:
        """Counts for Prometheus."""
        text, media = service.counters.text()
        return Response(text, media_type=media)


def _add_pages(app: FastAPI) -> None:
    schema = app.openapi()

    def add(path: str, text: str, media: str) -> None:
        async def page() -> Response:
            return Response(text, media_type=media)

        app.add_api_route(path, page, methods=["GET"], include_in_schema=False)

    add("/", pages.drop_page(), "text/html")
    add("/docs", pages.docs_page(schema), "text/html")
    add("/page.css", pages.style(), "text/css")
    add("/page.js", pages.script(), "text/javascript")


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return refused.response()


async def _invalid(_: Request, invalid: Exception) -> Response:
    assert isinstance(invalid, RequestValidationError)
    first = invalid.errors()[0]
    return error(422, "bad_argument", f"{first['loc'][-1]}: {first['msg']}.")


async def _http(_: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    said = {404: "There is nothing here.", 405: "This path does not take this method."}
    code = {404: "not_found", 405: "method"}.get(raised.status_code, "http")
    return error(raised.status_code, code, said.get(raised.status_code, "The request is wrong."), raised.headers)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=GONE)
