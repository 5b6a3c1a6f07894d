"""Audit a run: check its windows, fates and predictions against the logs."""
