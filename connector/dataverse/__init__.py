"""The way out: the Dataverse Web API, sign-in and pacing."""
