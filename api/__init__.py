"""HTTP in front of the commands and the event store: thin, strict, and quick."""
