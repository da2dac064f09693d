"""The whole system, through HTTP, signals and its database."""
