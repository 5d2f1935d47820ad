"""Many: from input files to a durable ledger, worked off in chunks."""
