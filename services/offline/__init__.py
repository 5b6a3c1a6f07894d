"""Alignment and fusion without a broker, in virtual time."""
