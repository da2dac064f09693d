"""The business rules, pure: no clock, no randomness, no database, no HTTP."""
