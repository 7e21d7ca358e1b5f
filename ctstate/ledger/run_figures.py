"""What a run did besides moving captures (`run_figure`): requests by kind, bytes, seconds of waiting."""

from collections.abc import Mapping

from sqlalchemy.engine import Connection

from ctstate.ledger.database import upsert
from ctstate.ledger.schema import run_figure


def put(connection: Connection, run_id: int, figures: Mapping[str, float]) -> None:
    """Write down how far a run's figures are, in the place of what it said before.

    Args:
        connection: a write transaction.
        run_id: the run.
        figures: value by name, such as `requests: POST /subjects` or `seconds: lock`; all since the run began.
    """
    if not figures:
        return
    new = upsert(connection, run_figure)
    connection.execute(
        new.on_conflict_do_update(index_elements=["run_id", "name"], set_={"value": new.excluded.value}),
        [{"run_id": run_id, "name": name[:60], "value": value} for name, value in figures.items()],
    )
