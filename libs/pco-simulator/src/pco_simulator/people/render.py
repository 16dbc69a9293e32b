"""The relationships of People's resources that `include` adds."""

from collections.abc import Sequence

from pco_simulator.kind import NOTHING, Context, Include, Includes, children, no_rows, one, organization_row
from pco_simulator.people.contacts import ADDRESS, EMAIL, PHONE_NUMBER
from pco_simulator.people.custom_fields import FIELD_DATUM, FIELD_DEFINITION, FIELD_OPTION, TAB
from pco_simulator.people.households import HOUSEHOLD, households_of, members
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.people.person import PERSON, TO_ONE
from pco_simulator.people.references import REFERENCES
from pco_simulator.rows import Row


def _tab_of_datum(context: Context, row: Row) -> Sequence[Row]:
    definition = context.view.get("FieldDefinition", row.attrs["field_definition_id"])
    return () if definition is None else one("Tab", "tab")(context, definition)


def _options_of_tab(context: Context, row: Row) -> Sequence[Row]:
    view = context.view
    definitions = view.children("FieldDefinition", "tab_id", row.id)
    return [option for each in definitions for option in view.children("FieldOption", "field_definition_id", each.id)]


INCLUDES: Includes = {
    "Person": {
        "emails": Include(EMAIL, True, children("Email", "person_id")),
        "phone_numbers": Include(PHONE_NUMBER, True, children("PhoneNumber", "person_id")),
        "addresses": Include(ADDRESS, True, children("Address", "person_id")),
        "households": Include(HOUSEHOLD, True, lambda context, row: households_of(context.view, row)),
        "organization": Include(ORGANIZATION, False, lambda context, _row: (organization_row(context),), at_edge=True),
        "field_data": Include(FIELD_DATUM, True, children("FieldDatum", "person_id")),
        "person_apps": Include(NOTHING, True, no_rows),
        "platform_notifications": Include(NOTHING, True, no_rows),
        "social_profiles": Include(NOTHING, True, no_rows),
        **{
            name: Include(
                REFERENCES[collection],
                False,
                one(type_, name),
                type="PrimaryCampus" if name == "primary_campus" else None,
            )
            for name, (type_, collection) in TO_ONE.items()
        },
    },
    "Household": {"people": Include(PERSON, True, lambda context, row: members(context.view, row))},
    "HouseholdMembership": {
        "household": Include(HOUSEHOLD, False, one("Household", "household")),
        "person": Include(PERSON, False, one("Person", "person")),
    },
    "FieldDatum": {
        "field_definition": Include(FIELD_DEFINITION, False, one("FieldDefinition", "field_definition")),
        "field_option": Include(FIELD_OPTION, False, one("FieldOption", "field_option")),
        "tab": Include(TAB, False, _tab_of_datum),
    },
    "FieldDefinition": {
        "field_options": Include(FIELD_OPTION, True, children("FieldOption", "field_definition_id")),
        "tab": Include(TAB, False, one("Tab", "tab")),
    },
    "Tab": {
        "field_definitions": Include(FIELD_DEFINITION, True, children("FieldDefinition", "tab_id")),
        "field_options": Include(FIELD_OPTION, True, _options_of_tab),
    },
}
"""Keys are the simulated ones of `can_include`."""
