"""Measurements that docs/results states; each is one command."""
