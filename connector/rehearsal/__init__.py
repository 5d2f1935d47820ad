"""THE JOB BEFORE THE JOB: a plan worked off by the real pipeline on a virtual clock, against a model."""
