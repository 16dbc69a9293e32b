"""Any permutation and repetition of a conflict's facts ends in the same state."""

from dataclasses import replace

from conflict_support import START, fact
from hypothesis import given
from hypothesis import strategies as st

from conflict_service.domain.conflict import STATE_AFTER, Conflict, decided, take
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)

KINDS = tuple(STATE_AFTER)


def run(facts: list[ConflictFact]) -> tuple[Conflict | None, list[tuple[str, int]]]:
    """The end of a history, and the announcements on the way: state and version."""
    conflict: Conflict | None = None
    announced: list[tuple[str, int]] = []
    for each in facts:
        change = take(conflict, each)
        if change is not None:
            conflict = change.after
            if change.announce:
                announced.append((conflict.state, conflict.version))
    return conflict, announced


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[ConflictFact], list[ConflictFact]]:
    """A history in order, and its facts shuffled, some repeated."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
    ordered = [
        fact(kind, version, ours=draw(st.sampled_from(["Anna", "Hanna"])), minutes=draw(st.integers(0, 20)))
        for version, kind in enumerate(kinds, start=1)
    ]
    repeated = ordered + draw(st.lists(st.sampled_from(ordered), max_size=8))
    return ordered, draw(st.permutations(repeated))


@given(histories())
def test_same_end_whatever_the_order(history: tuple[list[ConflictFact], list[ConflictFact]]) -> None:
    ordered, shuffled = history
    expected, _ = run(ordered)
    found, announced = run(shuffled)
    assert expected is not None
    assert found is not None
    # Our own version counts handled facts, so it depends on the order; it only has to grow.
    assert replace(found, version=0) == replace(expected, version=0)
    assert found.state == found.told == STATE_AFTER[type(ordered[-1])]
    assert found.opened_at == min(each.occurred_at for each in ordered)
    versions = [version for _, version in announced]
    assert versions == sorted(set(versions))
    # A consumer of the announcements sees exactly the open conflicts as open.
    assert bool(announced and announced[-1][0] == "open") == (found.state == "open")


def test_a_conflict_closed_before_its_detection_is_never_announced() -> None:
    closings: dict[type[ConflictFact], str] = {
        ConflictConverged: "agreed_elsewhere",
        ConflictWithdrawn: "withdrawn",
        ResolutionApplied: "resolved",
    }
    for closing, state in closings.items():
        conflict, announced = run([fact(closing, 2), fact(ConflictDetected, 1)])
        assert conflict is not None
        assert conflict.state == state
        assert conflict.opened_at == fact(ConflictDetected, 1).occurred_at
        assert announced == []


def test_only_real_changes_are_announced() -> None:
    facts = [
        fact(ConflictDetected, 1),
        fact(ConflictDetected, 2),  # the same values again
        fact(ConflictDetected, 3, ours="Hanna"),
        fact(ResolutionApplied, 4, ours="Hanna"),
        fact(ResolutionApplied, 5, ours="Hanna"),
        fact(ResolutionOvertaken, 6, ours="Joanna"),
    ]
    _, announced = run(facts)
    assert announced == [("open", 1), ("open", 3), ("resolved", 4), ("open", 6)]
    assert facts[0].occurred_at > START


@st.composite
def decided_histories(draw: st.DrawFn) -> tuple[list[ConflictFact], list[ConflictFact]]:
    """Facts from before and after a decision, one of which may answer it; shuffled and repeated."""
    before = [fact(ConflictDetected, version) for version in range(1, draw(st.integers(1, 3)) + 1)]
    kinds: list[type[ConflictFact]] = []
    kinds += draw(st.lists(st.sampled_from((ConflictDetected, ResolutionOvertaken)), max_size=4))
    kinds += draw(st.lists(st.sampled_from((ConflictConverged, ConflictWithdrawn, ResolutionApplied)), max_size=1))
    behind = [fact(kind, version) for version, kind in enumerate(kinds, start=len(before) + 1)]
    late = draw(st.lists(st.sampled_from(before), max_size=2))
    again = draw(st.lists(st.sampled_from(behind), max_size=4)) if behind else []
    return before, draw(st.permutations(behind + late + again))


@given(decided_histories())
def test_a_decision_waits_until_it_is_answered_or_the_conflict_ends(
    history: tuple[list[ConflictFact], list[ConflictFact]],
) -> None:
    before, behind = history
    conflict, _ = run(before)
    assert conflict is not None
    conflict = decided(conflict, "d")
    assert (conflict.state, conflict.told) == ("resolving", "open")
    announced = [conflict.state]
    for each in behind:
        change = take(conflict, each)
        if change is not None:
            assert change.after.version >= conflict.version
            conflict = change.after
            announced += [conflict.state] if change.announce else []
    answered = any(isinstance(each, ResolutionApplied | ResolutionOvertaken) for each in behind)
    newest = max([*before, *behind], key=lambda each: each.version)
    assert conflict.told == STATE_AFTER[type(newest)]
    waits = not answered and conflict.told == "open"
    assert conflict.state == ("resolving" if waits else conflict.told)
    assert conflict.waiting == ("d" if waits else None)
    # A consumer of the announcements knows whether the conflict waits for a person.
    assert (announced[-1] == "open") == (conflict.state == "open")


def test_another_decisions_answer_ends_no_decision() -> None:
    conflict, _ = run([fact(ConflictDetected, 1)])
    assert conflict is not None
    change = take(decided(conflict, "newer"), fact(ResolutionOvertaken, 2))
    assert change is not None
    assert change.after.state == "resolving"
