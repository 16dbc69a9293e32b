"""When a run is too big to go on without asking."""


def exceeds(changes: int, linked: int, percent: int, minimum: int) -> bool:
    """Whether a run that would change `changes` of `linked` records must ask first.

    Both must hold: more than `percent` of the linked records, and at least `minimum` of them.
    """
    return changes >= minimum and changes * 100 > linked * percent
