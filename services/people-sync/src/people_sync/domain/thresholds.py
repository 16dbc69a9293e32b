"""The threshold above which a run asks before it writes."""


def exceeds(changes: int, linked: int, percent: int, minimum: int) -> bool:
    """Whether a run that would change `changes` of `linked` records must ask first.

    It must if they are more than `percent` of the linked records and at least `minimum`.
    """
    return changes >= minimum and changes * 100 > linked * percent
