"""Recordings: the topics in one MCAP file, byte for byte, with their clocks."""
