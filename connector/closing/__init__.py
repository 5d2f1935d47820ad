"""The job: what must happen to an opportunity and its quotes, and the loop that makes it so."""
