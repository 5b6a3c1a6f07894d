"""MQTT out, with Home Assistant's discovery: each session a device."""
