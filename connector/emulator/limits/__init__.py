"""What the service bears and how it fails: protection limits, latency, planned faults."""
