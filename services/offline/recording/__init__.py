"""Recordings: the topics of a broker in an MCAP file."""
