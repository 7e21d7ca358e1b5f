"""The orders in which files and batches list captures: conditions for ORDER BY on `capture`."""

from sqlalchemy import Text, case, cast, func

from ctstate.ledger.schema import capture

MANIFEST_ORDER = (
    capture.c.season,
    capture.c.site,
    capture.c.roll,
    capture.c.capture_number,
    capture.c.capture_id,
)
"""Site by site, roll by roll, captures by their number."""

_NUMBER = case(
    (capture.c.capture_number < 100_000, func.substr(cast(capture.c.capture_number + 100_000, Text), 2)),
    else_=cast(capture.c.capture_number, Text),
)

LEGACY_ORDER = (
    capture.c.season + "#" + capture.c.site + "#" + capture.c.roll + "#" + _NUMBER,
    capture.c.capture_id,
)
"""As the old scripts sort: by the text `season#site#roll#%05d`.

That is manifest order but for captures above 99,999 and for names in which a space, `!` or `"` follows what is
another name.
"""
