"""The ledger: what is to be done and what came of it, in one SQL database."""
