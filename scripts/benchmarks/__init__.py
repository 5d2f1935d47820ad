"""The benchmark: the connector and its emulator, measured beside others, rerunnable by anyone with `scripts/bench`."""
