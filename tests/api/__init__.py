"""The HTTP layer, around a bus and a store in memory."""
