"""What tests build upon: seasons as files, in a ledger, on a sandbox; and the fixtures that make them."""
