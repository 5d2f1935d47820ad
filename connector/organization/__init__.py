"""ASKING THE ORGANIZATION: what it told of itself, kept as a file; probes; what a job sets off there."""
