"""What the endpoint takes and answers, as pydantic models: the published schemas."""
