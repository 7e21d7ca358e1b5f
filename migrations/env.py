"""Alembic's entry. ctstate opens the connection and hands it over; see `ctstate/ledger/migrate.py`.

From a checkout, `alembic revision` and `alembic check` work on the ledger that CTSTATE_LEDGER names.
"""

import os

from alembic import context
from sqlalchemy import create_engine

from ctstate.ledger.schema import metadata

handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    context.configure(connection=handed_over, target_metadata=metadata, transaction_per_migration=False)
    context.run_migrations()
else:
    engine = create_engine("sqlite:///" + os.environ.get("CTSTATE_LEDGER", "ctstate.db"))
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
