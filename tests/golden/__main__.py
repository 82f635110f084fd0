"""Writes the tables anew."""

from tests.golden import write

write()
