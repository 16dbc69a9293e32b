"""What every HTTP client of a server shares."""

from http.cookiejar import CookieJar, DefaultCookiePolicy


def no_cookies() -> CookieJar:
    """A jar that stays empty, for `httpx.AsyncClient(cookies=no_cookies())`.

    A server's client asks in the name of many people: a cookie that one of them was given would be sent for all others.
    """
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
