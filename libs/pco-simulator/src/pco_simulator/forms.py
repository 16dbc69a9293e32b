"""Forms as strangers send them."""

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request


async def form_of(request: Request) -> FormData | None:
    """The form of a request, or None when its body is none (broken multipart, a boundary that is missing)."""
    try:
        return await request.form()
    except (HTTPException, KeyError, MultiPartException):
        return None
