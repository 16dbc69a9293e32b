"""Every resource of People by its type and by its collection."""

from pco_simulator.kind import NOTHING, Kind
from pco_simulator.people.contacts import ADDRESS, EMAIL, PHONE_NUMBER
from pco_simulator.people.custom_fields import FIELD_OPTION
from pco_simulator.people.households import HOUSEHOLD, HOUSEHOLD_MEMBERSHIP
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.people.person import PERSON
from pco_simulator.people.references import EMPTY_OF_ORGANIZATION, PERSON_MERGER, REFERENCES

KINDS: dict[str, Kind] = {
    kind.type: kind
    for kind in (
        PERSON,
        EMAIL,
        PHONE_NUMBER,
        ADDRESS,
        HOUSEHOLD,
        HOUSEHOLD_MEMBERSHIP,
        PERSON_MERGER,
        *REFERENCES.values(),
        FIELD_OPTION,
        NOTHING,
        ORGANIZATION,
    )
}
"""Every kind that has a table."""

COLLECTIONS: dict[str, Kind] = {
    "people": PERSON,
    "emails": EMAIL,
    "phone_numbers": PHONE_NUMBER,
    "addresses": ADDRESS,
    "households": HOUSEHOLD,
    "person_mergers": PERSON_MERGER,
    **REFERENCES,
    **dict.fromkeys(EMPTY_OF_ORGANIZATION, NOTHING),
}
"""Top-level collections; `household_memberships` is absent (recorded 404)."""

CONTACTS: dict[str, Kind] = {"emails": EMAIL, "phone_numbers": PHONE_NUMBER, "addresses": ADDRESS}
