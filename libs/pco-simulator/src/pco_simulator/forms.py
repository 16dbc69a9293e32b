"""Forms of untrusted clients."""

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request


async def form_of(request: Request) -> FormData | None:
    """The form of a request, or None when its body cannot be parsed (broken multipart, missing boundary)."""
    try:
        return await request.form()
    except (HTTPException, KeyError, MultiPartException):
        return None
