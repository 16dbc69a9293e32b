"""Text for comparison, search and the order of lists. Pure: a service's `domain/` may import this module."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

ZWNJ: Final = "\u200c"
"""Zero width non-joiner: separates words in Persian names, where a space would separate letters too far."""
_APOSTROPHES: Final = re.compile(r"['’‘`´ʼ]")
_COMBINING_MARKS: Final = re.compile("[\u0300-\u036f]")
_LETTERS: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})


@lru_cache(maxsize=4_096)
def visible(text: str) -> str:
    """Text without invisible characters: zero-width space and joiner, byte order mark, soft hyphen, marks of direction
    (Unicode's category Cf). A zero-width non-joiner counts as a space."""
    if text.isascii():
        return text
    return "".join(c for c in text.replace(ZWNJ, " ") if unicodedata.category(c) != "Cf")


@lru_cache(maxsize=4_096)
def fold(text: str) -> str:
    """A name without case, accents, punctuation, invisible characters: `Émilie  O’Brien-Łuk` is `emilie obrien luk`."""
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", visible(text))).casefold()
    # Only combining diacritical marks are removed: vowel signs of other scripts are letters of the name.
    plain = _COMBINING_MARKS.sub("", decomposed).translate(_LETTERS)
    return " ".join("".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in plain).split())
