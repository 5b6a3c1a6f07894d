"""Bridges: what Braid says, in the words of other systems."""
