"""The sentences of a receipt."""

import re

from auth_service.domain import receipt
from auth_service.domain.receipt import STEPS, Line


def every_line() -> list[Line]:
    lines = [
        receipt.subscriptions_removed(0, ()),
        receipt.subscriptions_removed(1, ()),
        receipt.subscriptions_removed(2, ("people.v2.events.person.updated",)),
        receipt.subscriptions_given_up(),
    ]
    for part in (
        receipt.begun(),
        receipt.shared_with("people"),
        receipt.already_ended(interrupted=False),
        receipt.already_ended(interrupted=True),
        receipt.revoked(refresh_token_active=False, access_token_active=True),
        receipt.revocation_failed(readable=True),
        receipt.revocation_failed(readable=False),
        receipt.stopped("people"),
        receipt.stopped("calendar"),
    ):
        lines += part.values()
    return lines


def test_a_receipt_has_every_step_from_the_start() -> None:
    assert tuple(receipt.begun()) == STEPS


def test_sentences_use_the_readers_words() -> None:
    for line in every_line():
        assert not re.search(r"webhook|token|oauth|payload|!", line.sentence, re.IGNORECASE), line.sentence
        assert line.sentence.endswith((".", receipt.LEFTOVERS))  # an address stands last, to become a link


def test_the_receipt_says_the_result_of_the_check() -> None:
    lines = receipt.revoked(refresh_token_active=False, access_token_active=True)
    assert lines["refresh_token"].outcome == "done"
    assert lines["access_token"].outcome == "failed"
    assert receipt.LEFTOVERS in lines["access_token"].sentence
