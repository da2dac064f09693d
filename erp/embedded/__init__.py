"""Servers that run on this machine, out of PyPI packages, for people who have no others."""
