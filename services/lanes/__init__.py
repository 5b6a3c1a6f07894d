"""Lanes: what is going on in each session, drawn with characters on one axis of capture time."""
