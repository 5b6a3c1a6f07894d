"""Bridges and senders: MQTT with Home Assistant, Wyoming satellites, and captured cameras, microphones and files."""
