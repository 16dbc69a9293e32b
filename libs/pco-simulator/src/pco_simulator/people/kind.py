"""Versions and paths of People.

Shapes follow three recordings: 2018-08-01 (recorded in 2019), the vendor's documentation of mid-2025, and
2026-06-04 (recorded in 2026). Where they differ, the version decides; the version in between that introduced a
change is unconfirmed unless the vendor's change notes name it.
"""

VERSIONS = (
    "2018-08-01",
    "2019-01-14",
    "2019-10-10",
    "2020-04-06",
    "2020-07-22",
    "2021-08-17",
    "2022-01-05",
    "2022-01-28",
    "2022-07-14",
    "2023-02-15",
    "2023-03-21",
    "2024-09-12",
    "2025-03-20",
    "2025-07-02",
    "2025-07-17",
    "2025-11-10",
    "2026-06-04",
)

ROOT = "/people/v2"

FIRST_SHAPE_ENDS = "2020-07-22"
"""Versions before this one have fewer attributes."""
INCLUDED_WHEN_FILLED = "2026-06-04"
"""From this version on an empty `included` is absent: recorded as `[]` in 2019 and absent in 2026."""
