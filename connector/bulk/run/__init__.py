"""The run of a job in one process: rows pass from stage to stage, and what comes of each is recorded at once."""
