"""How fast the system is, beside what bounds it. Scripts, not part of the distribution's packages."""
