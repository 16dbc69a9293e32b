"""What the pages for humans share."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pco_simulator.forms import form_of

Handler = Callable[[Request], Awaitable[Response]]
Path = Callable[[Mapping[str, Any]], str]
"""The page that a form stands on, by the parameters of the form's own path."""


class Refused(Exception):
    """The API's rules refuse the change; the message gives the reason."""


def guarded(handler: Handler, page: Path) -> Handler:
    """Show a refusal as a sentence on the page that sent the form."""

    async def guard(request: Request) -> Response:
        try:
            return await handler(request)
        except (Refused, KeyError, ValueError) as error:
            text = str(error.args[0]) if error.args else str(error)
            return RedirectResponse(f"{page(request.path_params)}?{urlencode({'refused': text})}", 303)

    return guard


def done(path: str, text: str) -> Response:
    """Back to a page, which says what was done."""
    return RedirectResponse(f"{path}?{urlencode({'done': text})}", 303)


async def fields_of(request: Request) -> dict[str, str]:
    """The form's values by name."""
    # Browsers send two characters for the end of a line.
    return {key: str(value).replace("\r\n", "\n").strip() for key, value in (await form_of(request) or {}).items()}
