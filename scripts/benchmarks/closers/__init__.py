"""One program per client: each closes or reads what a job file names, in its best documented way."""
