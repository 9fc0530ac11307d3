"""The routes that take pictures. Nothing here computes: pictures go to the engine.

Which answer a client wants is said by the path (`/predict/ids`), by `?kind=ids`, or by the header Accept.
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from segwright.web.engine import Answer
from segwright.web.kinds import MEDIA, chosen
from segwright.web.refusals import Refused, not_ready
from segwright.web.service import Service

GONE = 499
"""The status of an answer that nobody waits for."""
PICTURE = {"type": "string", "format": "binary"}
Found = TypeVar("Found")


def _wish(
    opacity: Annotated[float, Query(ge=0, le=1, description="overlay: opacity of the colours.")] = 0.5,
    legend: Annotated[bool, Query(description="overlay: a strip of class names and shares below.")] = True,
    palette: Annotated[
        Literal["official", "safe"], Query(description="overlay, color: safe is for colour-blind people.")
    ] = "official",
    min_pixels: Annotated[int, Query(ge=1, description="coco, geojson: smaller regions are left out.")] = 16,
) -> dict[str, Any]:
    return {"opacity": opacity, "legend": legend, "palette": palette, "min_pixels": min_pixels}


Wish = Annotated[dict[str, Any], Depends(_wish)]
KindQuery = Annotated[str | None, Query(description=f"{', '.join(MEDIA)}; without it the header Accept decides.")]


def add_predict(app: FastAPI, service: Service) -> None:
    """Adds /predict and /batch, each also with the kind in its path."""
    one = _body({"picture": PICTURE}, {"application/octet-stream": {"schema": PICTURE}})
    several = _body({"pictures": {"type": "array", "items": PICTURE}}, {})

    @app.post("/predict", tags=["predict"], openapi_extra=one, response_class=Response)
    async def predict(request: Request, wish: Wish, kind: KindQuery = None) -> Response:
        """Segment one picture: the body itself, or one file of a form."""
        return await _one(service, request, wish, kind)

    @app.post("/predict/{kind}", tags=["predict"], openapi_extra=one, response_class=Response)
    async def predict_as(request: Request, wish: Wish, kind: str) -> Response:
        """The same, with the kind of the answer in the path."""
        return await _one(service, request, wish, kind)

    @app.post("/batch", tags=["predict"], openapi_extra=several, response_class=Response)
    async def batch(request: Request, wish: Wish, kind: KindQuery = None) -> Response:
        """Segment the files of a form: a JSON list, or a ZIP of PNG files with an index.json."""
        return await _several(service, request, wish, kind)

    @app.post("/batch/{kind}", tags=["predict"], openapi_extra=several, response_class=Response)
    async def batch_as(request: Request, wish: Wish, kind: str) -> Response:
        """The same, with the kind of the answers in the path."""
        return await _several(service, request, wish, kind)


def _body(fields: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """How OpenAPI describes a body that FastAPI does not parse."""
    form = {"multipart/form-data": {"schema": {"type": "object", "properties": fields}}}
    return {"requestBody": {"required": True, "content": raw | form}}


async def _one(service: Service, request: Request, wish: dict[str, Any], kind: str | None) -> Response:
    wanted = _wanted(service, request, kind)
    with service.admission.slots():
        if _is_form(request):
            name, picture = (await _files(request, 1))[0]
        else:
            name, picture = "", await request.body()
        answer = await _unless_gone(request, service.answer(picture, wish | {"kind": wanted, "name": name}))
    if answer is None:
        return Response(status_code=GONE)
    return Response(answer.content, media_type=MEDIA[wanted], headers={"vary": "accept"})


async def _several(service: Service, request: Request, wish: dict[str, Any], kind: str | None) -> Response:
    wanted = _wanted(service, request, kind)
    if not _is_form(request):
        raise Refused(415, "no_form", "Send the pictures as files of a form (multipart/form-data).", close=True)
    with service.admission.slots():
        files = await _files(request, service.limits.pictures)
        with service.admission.slots(len(files) - 1):
            every = [_each(service, picture, wish | {"kind": wanted, "name": name}) for name, picture in files]
            answers = await _unless_gone(request, asyncio.gather(*every))
    if answers is None:
        return Response(status_code=GONE)
    names = [name for name, _ in files]
    if MEDIA[wanted] == "image/png":
        content = await asyncio.to_thread(_zipped, wanted, names, answers)
        return Response(content, media_type="application/zip")
    return Response(_listed(names, answers), media_type="application/json")


def _wanted(service: Service, request: Request, kind: str | None) -> str:
    """The kind that was asked for, once the model is ready. Raises Refused."""
    wanted = chosen(kind, request.headers.get("accept", ""))
    if not service.engine.ready:
        raise not_ready("it is loading")
    return wanted


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _files(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Name and content of the files of a form. Raises Refused for another form."""
    try:
        async with request.form(max_files=most, max_fields=most) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            found = [(file.filename or "", await file.read()) for file in files]
    except (HTTPException, ValueError, KeyError) as wrong:
        said = f"The form cannot be read; it may hold up to {most} files. Send it as multipart/form-data."
        raise Refused(400, "bad_form", said, close=True) from wrong
    if not found:
        raise Refused(422, "no_file", "The form holds no file. Send the picture as one.")
    return found


async def _each(service: Service, picture: bytes, wish: dict[str, Any]) -> Answer | Refused:
    try:
        return await service.answer(picture, wish)
    except Refused as refused:
        return refused


async def _unless_gone(request: Request, work: Awaitable[Found]) -> Found | None:
    """The result, or None when the client leaves first: then the work is cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _listed(names: Sequence[str], answers: Sequence[Answer | Refused]) -> bytes:
    """A JSON list, one entry a picture: its name, its status, and its answer or error."""
    entries = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Answer):
            entries.append(b'{"name": %s, "status": 200, "answer": %s}' % (json.dumps(name).encode(), answer.content))
        else:
            entries.append(json.dumps(_entry(name, answer)).encode())
    return b"[" + b", ".join(entries) + b"]"


def _zipped(kind: str, names: Sequence[str], answers: Sequence[Answer | Refused]) -> bytes:
    """A ZIP of 001_ids.png, 002_ids.png, … and index.json. Clients' names stay inside of the index: they may be paths."""
    buffer, index = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, answer) in enumerate(zip(names, answers, strict=True), start=1):
            if isinstance(answer, Answer):
                file = f"{number:03}_{kind}.png"
                archive.writestr(file, answer.content)
                index.append({"name": name, "status": 200, "file": file})
            else:
                index.append(_entry(name, answer))
        archive.writestr("index.json", json.dumps(index))
    return buffer.getvalue()


def _entry(name: str, refused: Refused) -> dict[str, Any]:
    return {"name": name, "status": refused.status, "error": {"code": refused.code, "message": refused.message}}
