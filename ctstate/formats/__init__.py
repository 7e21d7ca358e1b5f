"""The formats room: other people's files to plain rows and back. It knows no ledger and no network."""
