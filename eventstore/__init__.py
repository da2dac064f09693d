"""The append-only truth in Postgres: schema, append function, codec, cache, and the two shells over them."""
