"""Family-safe matching: each rule of the table at the top of domain/matching.py, then laws for whole batches."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from people_sync.domain.canonical import email_key, same
from people_sync.domain.matching import (
    SHOWN,
    UNMATCHED,
    Candidate,
    Held,
    LeftAlone,
    Local,
    Matched,
    Outcome,
    Peer,
    Sharers,
    Theirs,
    left_alone,
    match_all,
    match_people,
    rows_needed,
    still_matches,
)

MAIL = "home@example.org"
ANN = Theirs("1", "Ann", "Smith", emails=(MAIL,))
HERE = Local("m1", "Ann", "Smith", email=MAIL)


def matched(
    people: Sequence[Theirs],
    members: Sequence[Local],
    *,
    peers: Sequence[Theirs] = (),
    different: Sequence[tuple[str, str]] = (),
) -> dict[str, Outcome]:
    by_email: dict[str, list[Local]] = {}
    by_name: dict[str, list[Local]] = {}
    for member in members:
        if member.email:
            by_email.setdefault(member.email.strip().casefold(), []).append(member)
        if not member.linked:
            by_name.setdefault(member.name_key, []).append(member)
    others = [Peer(peer.pco_id, peer.name_keys(), peer.email_keys()) for peer in peers]
    return match_all(people, by_email, by_name, peers=others, different=different)


def one(person: Theirs, *members: Local, peers: Sequence[Theirs] = ()) -> Outcome:
    return matched([person], members, peers=peers)[person.pco_id]


def held_for(outcome: Outcome) -> set[str]:
    assert isinstance(outcome, Held)
    assert all(candidate.reasons for candidate in outcome.candidates)
    assert set(outcome.reasons) == {reason for candidate in outcome.candidates for reason in candidate.reasons}
    return {candidate.member_id for candidate in outcome.candidates}


@pytest.mark.parametrize(
    ("person", "member"),
    [
        (ANN, HERE),
        (replace(ANN, emails=("HOME@Example.org ",)), replace(HERE, first_name="ann", last_name="SMITH ")),
        (replace(ANN, first_name="Zoë", last_name="O’Brien"), replace(HERE, first_name="Zoe", last_name="OBrien")),
        (replace(ANN, first_name="Annie", given_name="Ann"), HERE),
        (replace(ANN, first_name="Margaret", nickname="Ann"), HERE),
        (replace(ANN, emails=("other@example.org", MAIL)), HERE),
        (replace(ANN, last_name=""), HERE),
        (replace(ANN, child=True), replace(HERE, child=True)),
        (replace(ANN, birthdate=date(1990, 1, 1)), HERE),
        (replace(ANN, first_name="A\u200bnn", emails=("\ufeffhome@exam\u00adple.org",)), HERE),
        (replace(ANN, last_name="Smith\u200e"), replace(HERE, last_name="\u2066Smi\u00adth")),
    ],
)
def test_one_email_and_the_same_name_is_a_match(person: Theirs, member: Local) -> None:
    assert one(person, member) == Matched("m1")
    assert still_matches(person, member)
    assert not still_matches(person, replace(member, email="other.home@example.org"))
    assert not still_matches(person, member, different=["m1"])


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        (replace(ANN, first_name="Bob"), "names differ"),
        (replace(ANN, last_name="Jones"), "names differ"),
        (replace(ANN, first_name="", last_name=""), "names differ"),
        (replace(ANN, child=True), "child"),
    ],
)
def test_one_email_with_a_contradiction_is_held(person: Theirs, reason: str) -> None:
    outcome = one(person, HERE)
    assert held_for(outcome) == {"m1"}
    assert isinstance(outcome, Held)
    assert reason in outcome.reasons[0]
    assert not still_matches(person, HERE)


def test_a_child_and_an_adult_of_other_names_do_not_match() -> None:
    assert one(replace(ANN, first_name="Lily", child=True), HERE) == UNMATCHED


def test_father_and_son_of_one_name_are_told_apart_by_the_birthdate() -> None:
    father = replace(HERE, birthdate=date(1960, 1, 1))
    assert held_for(one(replace(ANN, birthdate=date(1990, 1, 1)), father)) == {"m1"}
    assert one(replace(ANN, emails=(), birthdate=date(1990, 1, 1)), father) == UNMATCHED


def test_a_shared_email_matches_only_a_name_unique_on_both_sides() -> None:
    bob_here = Local("m2", "Bob", "Smith", email=MAIL)
    bob = replace(ANN, pco_id="2", first_name="Bob")
    lily = replace(ANN, pco_id="3", first_name="Lily", child=True)
    outcomes = matched([ANN, bob, lily], [HERE, bob_here])
    assert outcomes == {"1": Matched("m1"), "2": Matched("m2"), "3": UNMATCHED}


def test_a_linked_member_makes_an_email_shared_but_is_no_candidate() -> None:
    bob_here = Local("m2", "Bob", "Smith", email=MAIL, linked=True)
    assert one(replace(ANN, first_name="Anna"), HERE, bob_here) != Matched("m1")
    assert one(replace(ANN, first_name="Bob"), bob_here) == UNMATCHED


def test_a_linked_person_makes_an_email_shared() -> None:
    peer = replace(ANN, pco_id="2", first_name="Bob")
    assert one(replace(ANN, last_name=""), HERE) == Matched("m1")
    assert held_for(one(replace(ANN, last_name=""), HERE, peers=[peer])) == {"m1"}
    assert one(ANN, HERE, peers=[peer]) == Matched("m1")


def test_two_people_of_one_name_and_email_are_held() -> None:
    twin = replace(ANN, pco_id="2")
    assert all(held_for(outcome) == {"m1"} for outcome in matched([ANN, twin], [HERE]).values())
    assert held_for(one(ANN, HERE, replace(HERE, member_id="m2"))) == {"m1", "m2"}


def test_with_a_shared_email_only_the_remaining_people_may_match() -> None:
    # Ann is found by name; Bob there and Robert here remain.
    bob = replace(ANN, pco_id="2", first_name="Bob")
    robert = Local("m2", "Robert", "Smith", email=MAIL)
    outcomes = matched([ANN, bob], [HERE, robert])
    assert outcomes["1"] == Matched("m1")
    assert held_for(outcomes["2"]) == {"m2"}


def test_an_office_email_says_nothing_beside_another_name() -> None:
    staff = [Local(f"s{n}", f"First{n}", "Here", email=MAIL) for n in range(40)]
    people = [Theirs(str(100 + n), f"Person{n}", "There", emails=(MAIL,)) for n in range(40)]
    assert set(matched(people, staff).values()) == {UNMATCHED}
    assert matched([ANN, *people], [HERE, *staff])["1"] == Matched("m1")


@pytest.mark.parametrize(
    ("person", "member"),
    [
        (replace(ANN, emails=()), HERE),
        (ANN, replace(HERE, email=None)),
        (ANN, replace(HERE, email="other@example.org")),
        (
            replace(ANN, emails=(), birthdate=date(2015, 1, 1), child=True),
            replace(HERE, birthdate=date(2015, 1, 1), child=True),
        ),
        (replace(ANN, emails=(), birthdate=date(2015, 1, 1), child=True), replace(HERE, birthdate=date(2015, 1, 1))),
    ],
)
def test_the_same_name_without_a_common_email_is_held(person: Theirs, member: Local) -> None:
    assert held_for(one(person, member)) == {"m1"}


# Kind: a value missing on one side makes a duplicate.
def test_the_same_name_of_a_child_and_an_adult_is_held_unless_the_birthdates_differ() -> None:
    child = replace(ANN, emails=(), child=True)
    assert held_for(one(child, HERE)) == {"m1"}
    assert one(replace(child, birthdate=date(2015, 1, 1)), replace(HERE, birthdate=date(1985, 1, 1))) == UNMATCHED


def test_the_middle_name_may_be_part_of_the_first_name_here() -> None:
    person = replace(ANN, middle_name="Marie")
    for first in ("Ann", "Ann Marie", "Ann M."):
        assert one(person, replace(HERE, first_name=first)) == Matched("m1")
    assert held_for(one(person, replace(HERE, first_name="Ann Louise"))) == {"m1"}


# Kind: a status is decided without a question.
def test_an_inactive_person_there_is_not_matched_silently() -> None:
    inactive = replace(ANN, active=False)
    assert one(inactive, HERE) == Matched("m1", inactive=True)
    assert one(inactive, replace(HERE, active=False)) == Matched("m1")
    assert one(ANN, replace(HERE, active=False)) == Matched("m1")
    outcome = one(replace(inactive, emails=()), HERE)
    assert isinstance(outcome, Held)
    assert outcome.reasons == ("Same name, but no email to be sure.", "Inactive in Planning Center, active here.")


def test_a_birthdate_without_a_year_contradicts_no_year() -> None:
    unknown, known = date(1885, 3, 1), date(1990, 3, 1)
    for there, here in ((unknown, known), (known, unknown), (unknown, unknown)):
        assert one(replace(ANN, birthdate=there), replace(HERE, birthdate=here)) == Matched("m1")
        outcome = one(replace(ANN, emails=(), birthdate=there), replace(HERE, birthdate=here))
        assert isinstance(outcome, Held)
        assert outcome.reasons == ("Same name and birthday, of unknown year, but no email to be sure.",)
        child = replace(LILY, birthdate=there, family_ids=frozenset("f"))
        assert held_for(one(child, replace(LILY_HERE, birthdate=here, family_ids=frozenset("f")))) == {"m5"}
    assert one(replace(ANN, emails=(), birthdate=unknown), replace(HERE, birthdate=date(1990, 3, 2))) == UNMATCHED


LILY = Theirs("5", "Lily", "Smith", birthdate=date(2015, 5, 5), child=True)
LILY_HERE = Local("m5", "Lily", "Smith", birthdate=date(2015, 5, 5), child=True)
AT_HOME = [
    ({"household_members": frozenset({"m1"})}, {"family_members": frozenset({"m1", "m5"})}),
    ({"family_ids": frozenset({"f1"})}, {"family_ids": frozenset({"f0", "f1"})}),
]


# Kind: many are held though all known values agree.
@pytest.mark.parametrize(("there", "here"), AT_HOME, ids=["a parent is linked", "the family is linked"])
def test_a_child_without_an_email_is_known_by_name_birthdate_and_family(
    there: dict[str, frozenset[str]], here: dict[str, frozenset[str]]
) -> None:
    child, member = replace(LILY, **there), replace(LILY_HERE, **here)  # type: ignore[arg-type]
    assert one(child, member) == Matched("m5")
    assert one(replace(child, emails=(MAIL,)), member) == Matched("m5")
    assert one(child, replace(member, email=MAIL)) == Matched("m5")
    assert still_matches(child, member)
    assert not still_matches(LILY, member)
    assert held_for(one(LILY, member)) == {"m5"}
    assert held_for(one(child, LILY_HERE)) == {"m5"}
    assert held_for(one(replace(child, emails=("her@example.org",)), replace(member, email=MAIL))) == {"m5"}
    assert held_for(one(replace(child, birthdate=None), member)) == {"m5"}
    assert held_for(one(replace(child, child=False), replace(member, child=False))) == {"m5"}
    assert held_for(one(replace(child, child=False), member)) == {"m5"}
    assert one(replace(child, birthdate=date(2015, 5, 6)), member) == UNMATCHED
    assert one(replace(child, first_name="Rose"), member) == UNMATCHED
    twice = matched([child, replace(child, pco_id="6")], [member])
    assert [held_for(outcome) for outcome in twice.values()] == [{"m5"}, {"m5"}]
    assert held_for(one(child, member, replace(member, member_id="m6"))) == {"m5", "m6"}
    assert matched([child], [member], different=[("5", "m5")]) == {"5": UNMATCHED}


def test_children_are_matched_in_one_batch_with_their_parents() -> None:
    child = replace(LILY, household_people=frozenset({"1", "5"}))
    member = replace(LILY_HERE, family_members=frozenset({"m1", "m5"}))
    assert matched([child, ANN], [HERE, member]) == {"1": Matched("m1"), "5": Matched("m5")}


# Kind: a deleted record's counterpart counts as unlinked.
def test_a_member_added_again_is_linked_to_the_deleted_ones_counterpart() -> None:
    former = replace(ANN, deleted_here=True)
    assert one(former, HERE) == Matched("m1")
    assert one(former) == UNMATCHED
    outcome = one(replace(former, emails=()), HERE)
    assert isinstance(outcome, Held)
    assert outcome.reasons[1:] == ("Linked before to a member who was deleted here.",)


def test_a_member_with_a_gone_counterpart_is_linked_to_the_person_added_again() -> None:
    orphan = replace(HERE, gone=True)
    assert one(ANN, orphan) == Matched("m1")
    outcome = one(replace(ANN, emails=()), orphan)
    assert isinstance(outcome, Held)
    assert outcome.reasons[1:] == ("Linked before to somebody who is gone in Planning Center.",)


BORN = date(1990, 1, 1)


# Kind: a part of a name missing on one side makes a duplicate.
@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"last_name": "Smith Jr."}, "Smith"),
        ({"suffix": "Jr."}, "Smith"),
        ({}, "Smith, Jr."),
        ({}, "Smith III"),
        ({"suffix": "2nd"}, "Smith"),
        ({"last_name": "Smith Sr"}, "Smith"),
    ],
)
@pytest.mark.parametrize("mail", [None, MAIL])
def test_a_suffix_on_one_side_is_held_if_born_the_same_day(there: dict[str, str], here: str, mail: str | None) -> None:
    person = replace(ANN, birthdate=BORN, **there)  # type: ignore[arg-type]
    member = replace(HERE, last_name=here, birthdate=BORN, email=mail)
    assert held_for(one(person, member)) == {"m1"}
    assert member.name_key in person.lookup_keys()
    assert not still_matches(person, member)
    assert mail or one(person, replace(member, birthdate=None)) == UNMATCHED
    assert mail or one(person, replace(member, birthdate=date(1960, 1, 1))) == UNMATCHED


def test_all_spellings_of_a_suffix_are_the_same_name() -> None:
    for there in (replace(ANN, suffix="Jr."), replace(ANN, last_name="Smith II"), replace(ANN, last_name="Smith, JR")):
        assert one(there, replace(HERE, last_name="Smith Junior")) == Matched("m1")
    assert one(replace(ANN, suffix="M.D."), HERE) == Matched("m1")


@pytest.mark.parametrize("there", [{"last_name": "Smith Sr."}, {"suffix": "III"}])
def test_different_suffixes_contradict(there: dict[str, str]) -> None:
    son = replace(HERE, last_name="Smith Jr.", birthdate=BORN)
    person = replace(ANN, birthdate=BORN, **there)  # type: ignore[arg-type]
    assert held_for(one(person, son)) == {"m1"}, "the same e-mail"
    assert one(replace(person, emails=()), son) == UNMATCHED


def test_father_and_son_who_share_an_email_are_told_apart_by_the_suffix() -> None:
    outcomes = matched(
        [ANN, replace(ANN, pco_id="2", suffix="Jr.")], [HERE, replace(HERE, member_id="m2", last_name="Smith Jr.")]
    )
    assert outcomes == {"1": Matched("m1"), "2": Matched("m2")}


def test_a_sure_match_removes_the_member_from_doubtful_ones() -> None:
    outcomes = matched([ANN, Theirs("2", "Ann", "Smith")], [HERE])
    assert outcomes == {"1": Matched("m1"), "2": UNMATCHED}


def test_two_members_who_fit_one_person_are_held() -> None:
    person = replace(ANN, emails=(MAIL, "work@example.org"))
    assert held_for(one(person, HERE, replace(HERE, member_id="m2", email="work@example.org"))) == {"m1", "m2"}


def test_an_answer_of_different_people_holds() -> None:
    assert matched([ANN], [HERE], different=[("1", "m1")]) == {"1": UNMATCHED}


# --- many -----------------------------------------------------------------------------------------------------------

MANY = 3_000


def spent(people: Sequence[Theirs], members: Sequence[Local]) -> tuple[float, dict[str, Outcome]]:
    """Seconds of this process for a run's batches."""
    emails = {key: Sharers.of(*who) for key, who in sharers_of(people, members).items()}
    outcomes: dict[str, Outcome] = {}
    began = process_time()
    for start in range(0, len(people), 500):
        outcomes |= match_people(people[start : start + 500], members, emails)
    return process_time() - began, outcomes


def sharers_of(people: Sequence[Theirs], members: Sequence[Local]) -> dict[str, tuple[list[Local], list[Peer]]]:
    found: dict[str, tuple[list[Local], list[Peer]]] = {}
    for member in members:
        found.setdefault(email_key(member.email) or "", ([], []))[0].append(member)
    for person in people:
        for key in person.email_keys():
            found.setdefault(key, ([], []))[1].append(Peer(person.pco_id, person.name_keys(), person.email_keys()))
    return found


# Kind: a pure function is quadratic in a shared value.
@pytest.mark.parametrize(
    ("mail", "first", "outcome"),
    [("office@example.org", "Same", Held), ("office@example.org", "N{}", Matched), ("", "Same", Held)],
    ids=["one name and one email", "one email", "one name"],
)
def test_a_value_shared_by_thousands_costs_little(mail: str, first: str, outcome: type[Outcome]) -> None:
    """Comparing all with all takes a minute here; batches only read the members again."""
    people = [Theirs(str(n), first.format(n), "There", emails=(mail,) * bool(mail)) for n in range(MANY)]
    members = [Local(f"m{n}", first.format(n), "There", email=mail or None) for n in range(MANY)]
    seconds, outcomes = spent(people, members)
    assert {type(one) for one in outcomes.values()} == {outcome}
    assert seconds < 3


# Kind: a pure function is quadratic in a shared value.
def test_thousands_of_former_sharers_of_an_office_email_take_no_longer() -> None:
    people = [Theirs(str(n), f"N{n}", "There", emails=("office@example.org",)) for n in range(MANY)]
    members = [Local(f"m{n}", f"N{n}", "Here", email="office@example.org") for n in range(MANY)]
    seconds, outcomes = spent(people, members)
    assert set(outcomes.values()) == {UNMATCHED}
    assert seconds < 3


def test_a_held_match_names_some_of_many_and_counts_the_rest() -> None:
    members = [Local(f"m{n:03}", "Ann", "Smith", email=f"{n}@example.org") for n in range(100)]
    outcome = one(ANN, *members)
    assert isinstance(outcome, Held)
    assert (len(outcome.candidates), outcome.more) == (SHOWN, 100 - SHOWN)
    # Members declared different are replaced by others.
    refused = [("1", member.member_id) for member in members[:99]]
    outcome = matched([ANN], members, different=refused)["1"]
    assert isinstance(outcome, Held)
    assert (held_for(outcome), outcome.more) == ({"m099"}, 0)
    # The surest come first.
    born = replace(members[70], birthdate=date(1990, 1, 1))
    outcome = one(replace(ANN, birthdate=date(1990, 1, 1)), *members[:70], born)
    assert isinstance(outcome, Held)
    assert outcome.candidates[0].member_id == "m070"


def test_a_query_may_return_only_needed_rows_and_count_the_rest() -> None:
    members = [Local(f"m{n:03}", "Ann", "Smith") for n in range(100)]
    needed = rows_needed(people=1, refused=2)
    given = [*members[: needed - 1], replace(members[needed - 1], others=100 - needed)]
    for different in ([], [("1", "m000"), ("1", "m001")]):
        everything = match_people([ANN], members, {}, different=different)
        assert match_people([ANN], given, {}, different=different) == everything


# --- laws -----------------------------------------------------------------------------------------------------------

firsts = st.sampled_from(["Ann", "ann", "Bob", "Lily", ""])
lasts = st.sampled_from(["Smith", "Smith Jr.", "Jones", ""])
mails = st.sampled_from(["a@example.org", "A@example.org", "b@example.org"])
birthdates = st.sampled_from([None, date(1990, 1, 1), date(2015, 5, 5), date(1885, 5, 5)])
theirs = st.builds(
    Theirs,
    pco_id=st.just(""),
    first_name=firsts,
    last_name=lasts,
    given_name=firsts,
    birthdate=birthdates,
    child=st.booleans(),
    emails=st.lists(mails, max_size=2).map(tuple),
)
locals_ = st.builds(
    Local,
    member_id=st.just(""),
    first_name=firsts,
    last_name=lasts,
    birthdate=birthdates,
    child=st.booleans(),
    email=st.one_of(st.none(), mails),
    linked=st.booleans(),
)
batches = st.lists(theirs, max_size=6).map(lambda all_: [replace(p, pco_id=str(n)) for n, p in enumerate(all_)])
directories = st.lists(locals_, max_size=6).map(
    lambda all_: [replace(m, member_id=f"m{n}") for n, m in enumerate(all_)]
)


@given(batches, directories, st.randoms())
def test_the_order_does_not_matter(people: list[Theirs], members: list[Local], random: object) -> None:
    outcomes = matched(people, members)
    shuffled, moved = list(people), list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(moved)  # type: ignore[attr-defined]
    assert matched(shuffled, moved) == outcomes


@given(batches, directories)
def test_a_match_is_safe(people: list[Theirs], members: list[Local]) -> None:
    by_id = {member.member_id: member for member in members}
    outcomes = matched(people, members)
    assert outcomes.keys() == {person.pco_id for person in people}
    taken = Counter(outcome.member_id for outcome in outcomes.values() if isinstance(outcome, Matched))
    assert not taken or max(taken.values()) == 1, "two people became one"
    for person in people:
        outcome = outcomes[person.pco_id]
        if isinstance(outcome, Matched):
            member = by_id[outcome.member_id]
            assert not member.linked
            assert member.child == person.child, "a child became an adult"
            assert still_matches(person, member), "what nobody has changed since"
            assert (member.email or "").casefold() in person.email_keys()
            assert None in {member.birthdate, person.birthdate} or same(
                "birthdate", member.birthdate, person.birthdate, "US"
            )
            owners = [m for m in members if m.email and m.email.casefold() == (member.email or "").casefold()]
            if len(owners) > 1:
                assert member.name_key in person.name_keys()
        elif isinstance(outcome, Held):
            assert not {candidate.member_id for candidate in outcome.candidates} & taken.keys()
            assert not any(by_id[candidate.member_id].linked for candidate in outcome.candidates)


@given(batches, directories)
def test_nobody_is_doubled_without_asking(people: list[Theirs], members: list[Local]) -> None:
    """A member is added only if no free member has the same name without another birthdate."""
    outcomes = matched(people, members)
    taken = {outcome.member_id for outcome in outcomes.values() if isinstance(outcome, Matched)}
    for person in people:
        if outcomes[person.pco_id] != UNMATCHED:
            continue
        for member in members:
            apart = (
                person.birthdate
                and member.birthdate
                and not same("birthdate", person.birthdate, member.birthdate, "US")
            )
            if member.linked or member.member_id in taken or apart:
                continue
            assert not member.name_key or member.name_key not in person.name_keys()
            assert not (person.birthdate and member.birthdate) or member.name_key not in person.lookup_keys()


def test_a_person_who_may_be_kept_out_is_left_alone() -> None:
    """Regardless of other candidates, however sure."""
    doubtful = Held((Candidate("a", ()), Candidate("b", ())), ())
    found = left_alone({"1": Matched("a"), "2": doubtful, "3": Matched("b"), "4": UNMATCHED}, {"a"})
    assert found == {
        "1": LeftAlone(("a",), ("a",)),
        "2": LeftAlone(("a", "b"), ("a",)),
        "3": Matched("b"),
        "4": UNMATCHED,
    }
