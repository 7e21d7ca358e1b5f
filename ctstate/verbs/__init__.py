"""The verbs room: one module a verb, named after it; each takes the ledger and arguments, and returns a report.

A verb prints nothing and holds no SQL: it says in which order the rooms below do what.
"""
