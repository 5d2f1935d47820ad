"""The Web API as a whole: requests routed, batches taken apart and put together."""
