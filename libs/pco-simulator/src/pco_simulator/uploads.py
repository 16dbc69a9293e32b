"""`POST /v2/files`, the vendor's upload host: a file becomes an id that `avatar` takes.

Shape and status as recorded in 2019 by pypco's cassettes. The vendor serves uploads from a host of its own
(`upload.planningcenteronline.com`), answers with headers of its own for other origins and with none of the API's, and
does not count in its rate limit;
the refusals of an unknown caller and of a request without a file are unconfirmed.
"""

import hashlib
import uuid
from datetime import datetime, timedelta

import orjson
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from pco_simulator.forms import form_of
from pco_simulator.jsonapi import stamp

PATH = "/v2/files"
_LIVES = timedelta(hours=1)
_CORS = {
    "access-control-allow-credentials": "true",
    "access-control-allow-headers": "Authorization, Cache-Control, Content-Type, If-Match, If-Modified-Since,"
    " If-None-Match, If-Unmodified-Since, Accept-Encoding, X-Requested-With, X-CSRF-Token",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-origin": "*",
    "vary": "Accept, Accept-Encoding, Origin",
}
"""Recorded by pypco's cassettes."""


async def receive(request: Request, now: datetime) -> Response:
    """Accept the file of a multipart form; its content is discarded, since no picture is ever shown."""
    form = await form_of(request)
    file = form and form.get("file")
    if not isinstance(file, UploadFile):
        return _refused()
    content = await file.read()
    attributes = {
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "expires_at": stamp(now + _LIVES),
        "source_ip": "0.0.0.0",  # noqa: S104 - the vendor's answer
        "name": file.filename,
        "content_type": file.content_type or "application/octet-stream",
        "file_size": len(content),
    }
    body = {"data": [{"attributes": attributes, "id": f"us3-{uuid.uuid4()}", "type": "File"}]}
    return Response(orjson.dumps(body), 201, _CORS, media_type="application/json")


def _refused() -> Response:
    error = {"status": "400", "title": "Bad Request", "detail": "Your request could not be processed"}
    return Response(orjson.dumps({"errors": [error]}), 400, media_type="application/json")
