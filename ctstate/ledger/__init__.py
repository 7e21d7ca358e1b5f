"""The ledger room: the state machine, and all SQL. Only code in here reads or writes the ledger's tables."""

from sqlalchemy.engine import Connection as Transaction

from ctstate.ledger.captures import Selection
from ctstate.ledger.ledger import Ledger
from ctstate.ledger.live_run import LiveRun
from ctstate.ledger.states import State

__all__ = ["Ledger", "LiveRun", "Selection", "State", "Transaction"]
