"""Refusals by the API that its document allows: rules that JSON Schema cannot express, or only less plainly."""

from typing import Final

EXPLAINED: Final[dict[str, str]] = {
    r"is not the `next` of a page of this list": "places in a list are opaque, and only ours are taken",
    r"control characters": "texts that somebody types: the words beside each field say it for all",
    r"(at least one character that can be seen|cannot be seen)": "blanks and invisible characters alone are no text",
    r"cannot be empty when": "one of two names has to be there",
    r"needs exactly one": "one of several fields says what is undone",
    r"belongs to another request": "a key stands for one request",
    r"Write an email address": "the syntax of addresses is a library's, stricter than `format: email`",
    r"holds a character that does not exist": "NUL and halves of characters, which JSON can escape, are no text",
    r"is no member of this directory": "a family is made of members that there are",
    r"lies before 1885": "Planning Center keeps no earlier birthdate",
    r"must be `(theirs|newer)`": "which answers are possible depends on the fields that are asked about",
}
"""Reasons by the message of the refused field (a regular expression)."""

TAKEN: Final[dict[str, str]] = {
    "PUT /api/v1/people/bulk": "each record is judged by itself: `rejected` lists those that were refused",
}
"""Reasons for calls that are accepted although the document forbids a part of them."""
