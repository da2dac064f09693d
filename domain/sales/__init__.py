"""Sales: what customers order, at which prices, and what has left for them."""
