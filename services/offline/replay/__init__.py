"""Replay a recording and compare the outcome."""
