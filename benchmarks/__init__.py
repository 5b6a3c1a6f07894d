"""One command per measurement in docs/results."""
