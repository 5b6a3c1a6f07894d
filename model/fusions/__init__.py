"""Fusions: branches and what the experts say of them to one answer, whichever of them are there."""
