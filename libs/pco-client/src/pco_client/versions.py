"""The API version requested of each product.

Planning Center versions its products apart, by date, in the header `X-PCO-API-Version`. Without the header the
application's console default applies, and paths and field names differ between versions (a webhook subscription
path is 404 under the wrong one: planningcenter/developers#1388, #1494). One product's version is never sent to
another.
"""

from typing import Final

VERSION_HEADER: Final = "X-PCO-API-Version"
PROCESSED_AS_HEADER: Final = "X-PCO-API-Processed-As-Version"

VERSIONS: Final[dict[str, str]] = {
    "people": "2026-06-04",
    "calendar": "2026-06-22",
    "webhooks": "2022-10-20",
    "current": "2018-08-01",
}
"""Product (the first segment of a path) to the version this library was written against."""


def product_of(path: str) -> str:
    """The product of a path: `/people/v2/people/1` is `people`.

    Raises `ValueError` for a path that is not `/<known product>/v2` or below it.
    """
    head, _, rest = path.removeprefix("/").partition("/")
    if not path.startswith("/") or head not in VERSIONS or not (rest == "v2" or rest.startswith("v2/")):
        known = ", ".join(f"/{product}/v2/..." for product in VERSIONS)
        raise ValueError(f"{path!r} is not a path of a product this library knows ({known})")
    return head
