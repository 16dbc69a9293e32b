"""Believable churches of any size, the same for the same seed.

Nobody in them exists: names are drawn apart from common ones, addresses of mail end in example.org or
example.com, phone numbers are of the range 555-0100 to 555-0199 that is kept for fiction.

Seeded on purpose, because real churches have them: families with shared surnames, blended families,
children of two households, spouses and children with one email address, people of the same name, nicknames,
accents and particles, prefixes and suffixes, logins, birthdates without a year (1885), missing fields, contacts without
a primary one and with several, inactive people, numbers in every notation, `remote_id`s that the church itself
has given, ids of 8 and of 9 digits, and an import that created more than a page of people in one second.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pco_simulator.calendar import seeding as calendar
from pco_simulator.world import Login, Organization


def _words(text: str) -> list[str]:
    return text.split()


FEMALE = _words(
    "Abigail Ada Adriana Agnes Alice Amelia Amina Ana Anika Astrid Beatrice Bethany Bridget Camila Cecilia "
    "Celeste Charlotte Chloé Clara Daphne Delia Dorothy Edith Eleanor Elena Elise Emma Esther Eva Evelyn Fiona "
    "Florence Frances Freya Gemma Georgia Grace Hannah Harriet Hazel Helena Imani Ines Irene Isabel Ivy Jana "
    "Joanna Josephine Judith Julia June Katherine Keziah Leah Leila Lilian Lucía Lydia Mabel Magdalena Margaret "
    "Marian Martha Matilda Mercy Mina Miriam Naomi Nadia Nora Olive Ophelia Patience Pearl Phoebe Priya Rachel "
    "Rebekah Rosa Ruth Sabine Salome Sarah Selma Sofia Susanna Tabitha Tamar Thea Ursula Vera Violet Wilhelmina "
    "Winifred Yara Zoë Zuri"
)
MALE = _words(
    "Aaron Abel Adam Adrian Alan Albert Amos André Anton Arthur Asher Ben Benjamin Boris Caleb Calvin Carlos "
    "Cedric Conrad Cyrus Daniel David Dennis Desmond Edgar Edmund Elias Elijah Emil Enoch Ernest Esteban Ethan "
    "Ezra Felix Francis Frederick Gabriel George Gideon Gilbert Gustav Hamish Harold Henry Hugo Ian Ibrahim "
    "Isaac Ivan Jacob James Jasper Jeremiah Jesse Joel John Jonah Jonathan José Joseph Joshua Josiah Jude Julian "
    "Karl Kenneth Kwame Lars Laurence Leo Levi Luis Lukas Malachi Marcus Martin Mateo Matthias Micah Moses Nathan "
    "Nehemiah Noah Oliver Oscar Otis Owen Patrick Paul Peter Philip Quentin Ralph Reuben Robert Rufus Samuel Seth "
    "Silas Simeon Stephen Theodore Thomas Timothy Tobias Victor Walter Xavier Zachary"
)
SURNAMES = _words(
    "Abernathy Achebe Adeyemi Aldridge Alvarez Ambrose Anders Applewood Ashdown Atwater Baptiste Barlow Beaumont "
    "Becker Bellamy Birch Blackwood Blythe Bonilla Bramwell Brightwater Brookfield Calloway Cárdenas Carmody "
    "Castellanos Chalmers Chandrasekar Coldwell Crane Crosby Dahl Darrow Delacroix Deverell Dimmock Dobbins "
    "Doyle Dunmore Eastwick Ekström Ellsworth Fairbairn Falkner Farrow Fenwick Ferreira Finch Fitzroy Flores "
    "Fontaine Gallagher Garrick Gentry Gilmore Goodfellow Granger Greenleaf Guerrero Hadley Hale Harcourt Harlow "
    "Hartwell Hathaway Hawthorne Herrera Hollis Huang Ibarra Ingram Jansen Jessop Jimenez Kamau Keating Kellerman "
    "Kim Kirkbride Kowalski Lancaster Langley Larkin Leclerc Lindqvist Lockwood Lovelace Lowell Macready Maddox "
    "Marlowe Mbeki McAllister McKenna Mendoza Merriweather Middleton Montrose Moreau Müller Nakamura Navarro "
    "Netherby Ngata Nightingale Núñez Oakley O'Connor O'Neil Obi Okafor Ostrander Pembroke Penhaligon Peralta "
    "Pickering Pruitt Quigley Quintero Ramsey Ravenscroft Redfern Rhodes Rivera Rosewood Rutherford Salazar Sanders "
    "Sheffield Silva Sinclair Somerset Stanhope Sterling Stonebridge Sutherland Tanaka Thackeray Thornton Tillman "
    "Tran Underwood Vance Vandermeer Vasquez Villanueva Wainwright Wakefield Walsh Weatherby Westbrook Whitaker "
    "Winslow Woodruff Yamada Yarrow Zamora Zielinski"
)
SURNAMES += ["van den Berg", "de la Cruz", "d'Angelo", "St. James", "von Stein", "le Roux"]
NICKNAMES = {
    "Abigail": "Abby", "Albert": "Al", "Benjamin": "Ben", "Charlotte": "Lottie", "Daniel": "Dan",
    "David": "Dave", "Dorothy": "Dot", "Eleanor": "Nell", "Elijah": "Eli", "Frances": "Fran",
    "Frederick": "Fred", "Gabriel": "Gabe", "Harriet": "Hattie", "Isabel": "Izzy", "Jacob": "Jake",
    "James": "Jim", "Jeremiah": "Jerry", "Jonathan": "Jon", "Joseph": "Joe", "Joshua": "Josh",
    "Josephine": "Jo", "Katherine": "Kate", "Kenneth": "Ken", "Laurence": "Larry", "Lilian": "Lily",
    "Margaret": "Peggy", "Nathan": "Nate", "Oliver": "Ollie", "Patrick": "Pat", "Philip": "Phil",
    "Rebekah": "Becky", "Robert": "Bob", "Samuel": "Sam", "Sarah": "Sadie", "Stephen": "Steve",
    "Susanna": "Sue", "Theodore": "Ted", "Thomas": "Tom", "Timothy": "Tim", "Tobias": "Toby",
    "Victor": "Vic", "Walter": "Walt", "Wilhelmina": "Billie", "Winifred": "Winnie", "Zachary": "Zach",
}  # fmt: skip
COMMON = (("John", "Walsh"), ("Sarah", "Kim"), ("David", "Flores"), ("Grace", "Okafor"), ("James", "Doyle"))
"""Names that several people of one church have."""

STREETS = (
    "Acorn Ave", "Bay Laurel Dr", "Birchwood Ln", "Canal St", "Cedar Ridge Rd", "Chapel Hill Rd", "Cherry St",
    "Copper Beech Ct", "Elm St", "Foundry Rd", "Garden Ter", "Grove St", "Hawthorn Way", "Juniper Dr",
    "Lakeview Blvd", "Linden Ave", "Maple St", "Meadow Ln", "Mill Pond Rd", "N Main St", "Old Orchard Rd",
    "Parish Way", "Quarry Rd", "River Bend Rd", "S 4th St", "Schoolhouse Rd", "Spring St", "Sycamore Ct",
    "Union Ave", "Walnut St", "Willow Creek Dr", "Windmill Ln",
)  # fmt: skip
PLACES = (
    ("Fairhaven", "MA", "02719"), ("Riverton", "NJ", "08077"), ("Lakemont", "PA", "16602"),
    ("Cedar Grove", "NC", "27231"), ("Ashford", "CT", "06278"), ("Milltown", "IN", "47145"),
    ("Brookhollow", "TX", "78735"), ("Northfield", "MN", "55057"), ("Granite Falls", "WA", "98252"),
    ("Palm Harbor", "FL", "34683"),
)  # fmt: skip
AREA_CODES = ("212", "202", "213", "305", "312", "404", "415", "503", "512", "617", "702", "713", "808", "917")
MEMBERSHIPS = ("Member", "Regular Attender", "Visitor", "Participant", "In Progress")
MEDICAL = ("Peanut allergy", "Asthma, carries an inhaler", "Bee stings", "Lactose intolerant", "Type 1 diabetes")

_FIRST_DAY = datetime(2016, 2, 1, 13, 0, tzinfo=UTC)
_LAST_SECOND = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)
_TODAY = date(2026, 2, 1)

_REFERENCES = {
    "InactiveReason": ("Moved", "Deceased", "No longer attends"),
    "MaritalStatus": ("Single", "Married", "Widowed"),
    "NamePrefix": ("Mr.", "Mrs.", "Ms.", "Miss", "Dr.", "Rev."),
    "NameSuffix": ("Jr.", "Sr.", "Ph.D.", "II", "III"),
}

_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Baptized", "boolean", ("true", "false")),
    ("Congregation", "select", ("Sunday morning", "Sunday evening", "Saturday")),
    ("Serves in", "checkboxes", ("Welcome", "Kids", "Music")),
    ("Emergency contact", "string", ("Grandmother next door", "Neighbor", "Aunt Ruth")),
    ("First visit", "date", ("2019-09-08", "2021-12-24", "2023-04-09")),
    ("Envelope number", "string", ("12", "107", "311")),
)
"""Custom fields that people have values in; the last field was deleted later."""

_ORGANIZATIONS = (
    ("263468", "Riverbend Community Church", "riverbend", "America/New_York"),
    ("463051", "Hillside Chapel", "hillside", "America/Los_Angeles"),
    ("538220", "St. Brendan's Fellowship", "stbrendans", "America/Chicago"),
)

Rows = dict[str, list[tuple[int, dict[str, Any]]]]


@dataclass(slots=True)
class SeededChurch:
    """A church as `World.install` takes it."""

    organization: Organization
    rows: Rows = field(default_factory=dict)
    logins: list[Login] = field(default_factory=list)


class _Ids:
    """Ids over all churches, rising with gaps; those of emails and phones pass from 8 to 9 digits early."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next = {"Person": 45_029_164, "Email": 99_999_930, "PhoneNumber": 99_999_950, "Address": 55_460_368}

    def draw(self, type_: str) -> int:
        id_ = self._next.get(type_, 1_000_001)
        self._next[type_] = id_ + 1 + (self._rng.random() < 0.08)
        return id_


def churches(*, people: int, seed: int, churches: int, time_zones: str) -> Iterator[SeededChurch]:
    """The first church has exactly `people` people (at least its five staff), each other one a tenth of it,
    between 20 and 200. `time_zones`: see `world.Shape`."""
    zones = time_zones.split(",")
    ids = _Ids(random.Random(f"{seed}/ids"))  # noqa: S311 - reproducible on purpose
    fields = _Ids(random.Random(f"{seed}/fields"))  # noqa: S311
    calendars = calendar.Ids(random.Random(f"{seed}/calendars"))  # noqa: S311
    for number in range(churches):
        known = _ORGANIZATIONS[number] if number < len(_ORGANIZATIONS) else _organization(number, zones)
        size = people if number == 0 else min(max(people // 10, 20), 200)
        organization = Organization(
            id=known[0],
            name=known[1],
            subdomain=known[2],
            time_zone=known[3],
            country_code="US",
            date_format="%m/%d/%Y",
            created_at="2016-01-04T15:00:00Z",
        )
        rng = random.Random(f"{seed}/church/{number}")  # noqa: S311
        church = _Builder(organization, ids, rng, size).build()
        _add_custom_fields(church, fields, random.Random(f"{seed}/fields/{number}"))  # noqa: S311
        _add_about_adults(church, random.Random(f"{seed}/adults/{number}"))  # noqa: S311
        # Of an own random generator as well, so that calendars change no seeded person.
        church.rows.update(
            calendar.rows(
                zone=organization.time_zone,
                staff=[
                    (int(login.person_id), "calendar" in login.products, login.organization_administrator)
                    for login in church.logins
                ],
                size=size,
                number=number,
                draw=calendars.draw,
                rng=random.Random(f"{seed}/calendars/{number}"),  # noqa: S311
            )
        )
        yield church


def _organization(number: int, zones: Sequence[str]) -> tuple[str, str, str, str]:
    zone = zones[(number - len(_ORGANIZATIONS)) % len(zones)]
    return (str(600_000 + number), f"Fellowship {number + 1}", f"fellowship{number + 1}", zone)


@dataclass(slots=True)
class _Person:
    id: int
    attrs: dict[str, Any]
    child: bool
    email: str | None = None


class _Builder:
    """One church, in the order in which its people came."""

    def __init__(self, organization: Organization, ids: _Ids, rng: random.Random, size: int) -> None:
        self.church = SeededChurch(organization)
        self.ids = ids
        self.rng = rng
        self.size = max(size, 5)
        self.people = 0
        self.rows = self.church.rows
        for type_ in (
            "Person", "Email", "PhoneNumber", "Address", "Household", "HouseholdMembership", "PersonMerger",
        ):  # fmt: skip
            self.rows[type_] = []
        self.now = _FIRST_DAY
        self.step = (_LAST_SECOND - _FIRST_DAY) / (self.size * 1.2 + 10)
        # An import: more than one page of 100 in one second if the church is large enough.
        imported = max(min(self.size // 4, 2_500), 130 if self.size >= 300 else self.size // 3)
        self.import_from = self.size // 3
        self.import_until = self.import_from + imported
        self.import_second = ""
        self.elsewhere: list[int] = []

    def build(self) -> SeededChurch:
        for type_, values in _REFERENCES.items():
            self.rows[type_] = [
                (self.ids.draw(type_), {"value": value, "sequence": place})
                for place, value in enumerate(values, start=1)
            ]
        self._staff()
        while self.people < self.size:
            self._family(self.size - self.people)
        self._mergers()
        return self.church

    # -- time ------------------------------------------------------------------------------------------------

    def _importing(self) -> bool:
        return self.import_from <= self.people < self.import_until

    def _created(self) -> str:
        if self._importing():
            if not self.import_second:
                self.import_second = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
            return self.import_second
        self.now += self.step * self.rng.random() * 2
        return f"{min(self.now, _LAST_SECOND):%Y-%m-%dT%H:%M:%SZ}"

    def _updated(self, created: str) -> str:
        if created == self.import_second or self.rng.random() < 0.55:
            return created
        begin = datetime.fromisoformat(created)
        return f"{begin + (_LAST_SECOND - begin) * self.rng.random():%Y-%m-%dT%H:%M:%SZ}"

    # -- people ----------------------------------------------------------------------------------------------

    def _staff(self) -> None:
        """The people who can log in: an administrator, an editor, a viewer, one without People, one with
        Calendar alone."""
        wanted = (
            ("Manager", True, frozenset({"people", "calendar"})),
            ("Editor", False, frozenset({"people", "calendar"})),
            ("Viewer", False, frozenset({"people"})),
            (None, False, frozenset({"people"})),
            ("Manager", False, frozenset({"people"})),
        )
        for permissions, administrator, products in wanted:
            surname = self.rng.choice(SURNAMES)
            person = self._person(surname, child=False, age=self.rng.randrange(28, 60))
            email = f"{_mailbox(person.attrs['first_name'])}.{_mailbox(surname)}@{self.church.organization.subdomain}"
            email += ".example.org"
            person.attrs.update(
                {
                    "people_permissions": permissions,
                    "site_administrator": administrator,
                    "accounting_administrator": administrator,
                    "login_identifier": email,
                    "status": "active",
                    "inactivated_at": None,
                }
            )
            self._email(person, email, primary=True, location="Work")
            self._phones(person)
            self.church.logins.append(
                Login(
                    organization_id=self.church.organization.id,
                    person_id=str(person.id),
                    name=f"{person.attrs['first_name']} {surname}",
                    first_name=person.attrs["first_name"],
                    last_name=surname,
                    email=email,
                    people_permissions=permissions,
                    organization_administrator=administrator,
                    products=products,
                )
            )

    def _person(self, surname: str, *, child: bool, age: int, gender: str | None = None) -> _Person:
        rng = self.rng
        gender = gender or ("Female" if rng.random() < 0.52 else "Male")
        first = self._first_name(gender)
        if not child and rng.random() < 0.01:
            first, surname = rng.choice(COMMON)
            gender = "Female" if first in FEMALE else "Male"
        created = self._created()
        attrs: dict[str, Any] = {
            "first_name": first,
            "last_name": surname,
            "created_at": created,
            "updated_at": self._updated(created),
        }
        self._more_names(attrs, gender, child=child)
        self._about(attrs, age, gender, child=child)
        self.people += 1
        if rng.random() < 0.02:
            attrs["remote_id"] = 1_000 + self.people
        person = _Person(self.ids.draw("Person"), attrs, child)
        self.rows["Person"].append((person.id, attrs))
        return person

    def _first_name(self, gender: str) -> str:
        return self.rng.choice(FEMALE if gender == "Female" else MALE)

    def _more_names(self, attrs: dict[str, Any], gender: str, *, child: bool) -> None:
        rng = self.rng
        if rng.random() < 0.12 and attrs["first_name"] in NICKNAMES:
            attrs["nickname"] = NICKNAMES[attrs["first_name"]]
        if rng.random() < 0.03:
            attrs["given_name"] = self._first_name(gender)
        if rng.random() < 0.15:
            attrs["middle_name"] = self._first_name(gender)
        if not child and rng.random() < 0.03:
            attrs["name_suffix_id"] = rng.choice(self.rows["NameSuffix"])[0]

    def _about(self, attrs: dict[str, Any], age: int, gender: str, *, child: bool) -> None:
        rng = self.rng
        if child:
            attrs["child"] = True
            if 5 <= age <= 17 and rng.random() < 0.8:
                attrs["grade"] = min(age - 5, 12)
        if rng.random() < 0.9:
            attrs["gender"] = gender
        if rng.random() < (0.85 if child else 0.5):
            attrs["birthdate"] = (_TODAY - timedelta(days=age * 365 + rng.randrange(365))).isoformat()
        if rng.random() < 0.6:
            attrs["membership"] = rng.choice(MEMBERSHIPS)
        if rng.random() < (0.06 if child else 0.01):
            attrs["medical_notes"] = rng.choice(MEDICAL)
        if rng.random() < 0.07:
            attrs["status"] = "inactive"
            attrs["inactivated_at"] = attrs["updated_at"]
            if rng.random() < 0.5:
                attrs["inactive_reason_id"] = rng.choice(self.rows["InactiveReason"])[0]

    def _family(self, room: int) -> None:
        rng = self.rng
        surname = rng.choice(SURNAMES)
        kind = rng.random()
        if kind < 0.24 or room == 1:
            person = self._person(surname, child=False, age=rng.randrange(18, 90))
            self._contacts([person], [])
            if rng.random() < 0.25:
                self._household([person], surname)
            return
        adults = [self._person(surname, child=False, age=rng.randrange(24, 78))]
        if kind < 0.82 and room > 2:
            other = "Male" if adults[0].attrs.get("gender") == "Female" else "Female"
            own_name = surname if rng.random() < 0.88 else rng.choice(SURNAMES)
            adults.append(self._person(own_name, child=False, age=rng.randrange(24, 78), gender=other))
            if rng.random() < 0.3:
                married = (_TODAY - timedelta(days=rng.randrange(300, 14_000))).isoformat()
                adults[0].attrs["anniversary"] = adults[1].attrs["anniversary"] = married
            if rng.random() < 0.6:
                for adult in adults:
                    adult.attrs["marital_status_id"] = self.rows["MaritalStatus"][1][0]
        count = min(rng.choice((0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5)), room - len(adults))
        blended = rng.random() < 0.08
        children = []
        for _ in range(count):
            name = rng.choice(SURNAMES) if blended and rng.random() < 0.6 else surname
            children.append(self._person(name, child=True, age=rng.randrange(18)))
        self._contacts(adults, children)
        shared = [self.elsewhere.pop()] if self.elsewhere and rng.random() < 0.5 else []
        self._household(adults + children, surname, shared)
        if children and (blended or rng.random() < 0.02):
            # This child lives with the next family as well, so in two households.
            self.elsewhere.append(children[0].id)

    def _household(self, people: list[_Person], surname: str, more: list[int] | None = None) -> None:
        created = people[-1].attrs["created_at"]
        id_ = self.ids.draw("Household")
        name = surname if self.rng.random() < 0.2 else f"{surname} Household"
        attrs = {
            "name": name,
            "primary_contact_id": people[0].id,
            "created_at": created,
            "updated_at": self._updated(created),
        }
        self.rows["Household"].append((id_, attrs))
        pending = self.rng.random() < 0.01
        for person_id in [*(person.id for person in people), *(more or ())]:
            membership: dict[str, Any] = {"household_id": id_, "person_id": person_id}
            if pending and person_id == people[-1].id and len(people) > 1:
                membership["pending"] = True
            self.rows["HouseholdMembership"].append((self.ids.draw("HouseholdMembership"), membership))

    # -- contacts --------------------------------------------------------------------------------------------

    def _contacts(self, adults: list[_Person], children: list[_Person]) -> None:
        rng = self.rng
        for adult in adults:
            self._emails(adult, adults[0] if adult is not adults[0] else None)
            self._phones(adult)
        for child in children:
            shared = next((adult.email for adult in adults if adult.email), None)
            if shared and rng.random() < 0.25:
                self._email(child, shared, primary=True, location="Home")
            elif rng.random() < 0.06:
                self._email(child, self._new_address(child), primary=True, location="Home")
            if rng.random() < 0.1:
                self._phones(child)
        if rng.random() < 0.78:
            self._addresses(adults, children)

    def _new_address(self, person: _Person) -> str:
        rng = self.rng
        first, last = _mailbox(person.attrs["first_name"]), _mailbox(person.attrs["last_name"])
        local = rng.choice((f"{first}.{last}", f"{first}{last}", f"{first[0]}{last}", f"{last}.{first}"))
        if rng.random() < 0.7:
            local += str(rng.randrange(1, 9_999))
        address = f"{local}@{rng.choice(('example.org', 'example.com', 'mail.example.org', 'post.example.com'))}"
        return address.title() if rng.random() < 0.03 else address

    def _emails(self, person: _Person, spouse: _Person | None) -> None:
        rng = self.rng
        luck = rng.random()
        if luck < 0.14:
            return
        if spouse is not None and spouse.email and rng.random() < 0.25:
            person.email = spouse.email
        else:
            person.email = self._new_address(person)
        count = 1 if luck < 0.86 else 2 if luck < 0.97 else 3
        odd = rng.random()
        for place in range(count):
            # The vendor once allowed several primaries (planningcenter/developers#460); it no longer does.
            primary = False if odd < 0.03 else True if odd > 0.96 else place == 0
            address = person.email if place == 0 else self._new_address(person)
            self._email(person, address, primary=primary, location=("Home", "Work", "Other")[place])

    def _email(self, person: _Person, address: str, *, primary: bool, location: str) -> None:
        person.email = person.email or address
        attrs = self._contact(person, location, primary=primary)
        attrs["address"] = address
        if self.rng.random() < 0.01:
            attrs["blocked"] = True
        self.rows["Email"].append((self.ids.draw("Email"), attrs))

    def _contact(self, person: _Person, location: str, *, primary: bool) -> dict[str, Any]:
        created = person.attrs["created_at"]
        updated = created if self.rng.random() < 0.85 else self._updated(created)
        attrs: dict[str, Any] = {
            "location": location,
            "person_id": person.id,
            "created_at": created,
            "updated_at": updated,
        }
        if primary:
            attrs["primary"] = True
        return attrs

    def _phones(self, person: _Person) -> None:
        rng = self.rng
        luck = rng.random()
        count = 0 if luck < 0.2 else 1 if luck < 0.86 else 2
        odd = rng.random()
        for place in range(count):
            primary = False if odd < 0.03 else True if odd > 0.97 else place == 0
            attrs = self._contact(person, "Mobile" if place == 0 else rng.choice(("Home", "Work")), primary=primary)
            area, line = rng.choice(AREA_CODES), f"01{rng.randrange(100):02}"
            attrs["number"] = rng.choice(
                (
                    f"({area}) 555-{line}",
                    f"({area}) 555-{line}",
                    f"{area}-555-{line}",
                    f"{area}555{line}",
                    f"+1 {area} 555 {line}",
                    f"{area}.555.{line}",
                )
            )
            attrs["e164"] = f"+1{area}555{line}"
            attrs["national"] = f"({area}) 555-{line}"
            attrs["international"] = f"+1 {area}-555-{line}"
            attrs["country_code"] = "US"
            self.rows["PhoneNumber"].append((self.ids.draw("PhoneNumber"), attrs))

    def _addresses(self, adults: list[_Person], children: list[_Person]) -> None:
        rng = self.rng
        city, state, zip_ = rng.choice(PLACES)
        line = f"{rng.randrange(1, 9_800)} {rng.choice(STREETS)}"
        second = f"Apt {rng.randrange(1, 90)}" if rng.random() < 0.12 else None
        everyone = adults + (children if rng.random() < 0.5 else [])
        for person in everyone:
            attrs = self._contact(person, "Home", primary=rng.random() < 0.97)
            attrs.update({"street_line_1": line, "city": city, "state": state, "zip": zip_, "country_code": "US"})
            if second:
                attrs["street_line_2"] = second
            if rng.random() < 0.02:
                del attrs["street_line_1"], attrs["zip"]
            self.rows["Address"].append((self.ids.draw("Address"), attrs))
        if rng.random() < 0.05:
            attrs = self._contact(adults[0], "Work", primary=rng.random() < 0.1)
            office = f"{rng.randrange(1, 900)} {rng.choice(STREETS)}"
            attrs.update({"street_line_1": office, "city": city, "state": state, "country_code": "US"})
            self.rows["Address"].append((self.ids.draw("Address"), attrs))

    def _mergers(self) -> None:
        """Merges of long ago: the removed ids are no longer among the people."""
        for _ in range(min(self.size // 200, 50)):
            keep = self.rng.choice(self.rows["Person"])
            removed = self.ids.draw("Person")
            attrs = {
                "created_at": keep[1]["updated_at"],
                "person_to_keep_id": keep[0],
                "person_to_remove_id": removed,
            }
            self.rows["PersonMerger"].append((self.ids.draw("PersonMerger"), attrs))
        self.rows["PersonMerger"].sort(key=lambda row: row[0])


def _add_custom_fields(church: SeededChurch, ids: _Ids, rng: random.Random) -> None:
    """Seed one tab of fields and values for some people, with a random generator of its own: adding fields must not
    change the seeded people."""
    rows = church.rows
    tab = ids.draw("Tab")
    rows["Tab"] = [(tab, {"name": "Custom fields", "slug": "custom_fields", "sequence": 1})]
    rows["FieldDefinition"], rows["FieldOption"], rows["FieldDatum"] = [], [], []
    options: dict[tuple[str, str], int] = {}
    definitions: dict[str, int] = {}
    for place, (name, data_type, values) in enumerate(_FIELDS, start=1):
        definition = definitions[name] = ids.draw("FieldDefinition")
        attrs = {
            "name": name,
            "slug": name.lower().replace(" ", "_"),
            "data_type": data_type,
            "sequence": place,
            "tab_id": tab,
        }
        if place == len(_FIELDS):
            attrs["deleted_at"] = "2024-01-15T16:00:00Z"
        rows["FieldDefinition"].append((definition, attrs))
        if data_type in ("select", "checkboxes"):
            for number, value in enumerate(values, start=1):
                option = options[name, value] = ids.draw("FieldOption")
                known = {"field_definition_id": definition, "value": value, "sequence": number}
                rows["FieldOption"].append((option, known))
    for person_id, person in rows["Person"]:
        if rng.random() > 0.12:
            continue
        for name, _, values in rng.sample(_FIELDS[:-1], rng.randrange(1, 4)):
            value = rng.choice(values)
            datum = {
                "person_id": person_id,
                "field_definition_id": definitions[name],
                "value": value,
                "created_at": person["created_at"],
                "updated_at": person["created_at"],
            }
            if (name, value) in options:
                datum["field_option_id"] = options[name, value]
            rows["FieldDatum"].append((ids.draw("FieldDatum"), datum))


def _add_about_adults(church: SeededChurch, rng: random.Random) -> None:
    """Seed name prefixes, logins of people without a role (they log in to Church Center with their own address), and
    birthdates of unknown year (1885), with a random generator of its own: other seeded values must not change."""
    prefixes = [id_ for id_, _ in church.rows["NamePrefix"]]
    addresses: dict[int, str] = {}
    for _, email in church.rows["Email"]:
        addresses.setdefault(email["person_id"], email["address"])
    for id_, person in church.rows["Person"]:
        prefix, login, year, day = rng.random(), rng.random(), rng.random(), rng.randrange(365)
        if person.get("child"):
            continue
        if prefix < 0.06:
            person["name_prefix_id"] = prefixes[int(prefix * 1_000) % len(prefixes)]
        if login < 0.1 and id_ in addresses and "login_identifier" not in person:
            person["login_identifier"] = addresses[id_]
        if year < 0.03 and "birthdate" not in person:
            person["birthdate"] = (date(1885, 1, 1) + timedelta(days=day)).isoformat()


def _mailbox(name: str) -> str:
    plain = name.translate(str.maketrans("éíëäüöáúñ", "eieauoaun"))
    return "".join(c for c in plain.lower() if c.isascii() and c.isalnum())
