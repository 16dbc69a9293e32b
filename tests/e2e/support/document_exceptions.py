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
    r"(is required|is not known: send|goes with last_day)": "an event has times or days, and which zone may be known",
    r"lies (before|more than a year after|too far behind) \w+": "an end follows a beginning",
    r"must lie between 1900 and 2199": "other years are no dates of a church's calendar",
    r"Send an instant with its offset": "`date-time` allows leap seconds and days that no month has",
    r"is no time zone": "the names of zones are a list of their own",
    r"is no occurrence of this series|is named twice": "which keys there are follows from the rule",
    r"(is no rule|has an unknown part|needs [A-Z]+|never ends|names [A-Z]+ twice)": "a rule has a grammar of its own",
    r"(does not begin with the event|ends before the event|ends after more|has [A-Z]+)": "its parts belong together",
    r"must be `(theirs|newer)`": "which answers are possible depends on the fields that are asked about",
}
"""Reasons by the message of the refused field (a regular expression)."""

TAKEN: Final[dict[str, str]] = {
    "POST /api/v1/calendar/bulk": "each event is judged by itself: `rejected` lists those that were refused",
    "PUT /api/v1/people/bulk": "each record is judged by itself: `rejected` lists those that were refused",
}
"""Reasons for calls that are accepted although the document forbids a part of them."""
