"""The warehouse: items, and the stock of each in each warehouse, with what it is worth."""
