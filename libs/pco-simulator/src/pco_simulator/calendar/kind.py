"""Versions and paths of Calendar.

Shapes follow the vendor's OpenAPI description of 2022-07-07 (stored in 2026-07) and one event recorded in 2025-12.
Differences between versions are those that the vendor's change notes name; 2026-06-22 is like 2022-07-07 except for
`included` (unconfirmed).
"""

VERSIONS = ("2018-08-01", "2020-04-08", "2021-07-20", "2022-07-07", "2026-06-22")
ROOT = "/calendar/v2"

SUMMARY = "2021-07-20"
"""From this version on `summary` replaces `details`, and `archived_at` is gone."""
COMPACT = "2022-07-07"
"""From this version on instances have `compact_recurrence_description`."""
INCLUDED_WHEN_FILLED = "2026-06-22"
"""From this version on an empty `included` is absent, as recorded for People in 2026 (unconfirmed for Calendar)."""

HTML = "https://calendar.planningcenteronline.com"
"""Prefix of the vendor's own pages."""
