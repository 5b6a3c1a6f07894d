"""Mute and forget: the control topic, written by people's word and followed by whoever uses payloads."""
