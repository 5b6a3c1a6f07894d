"""The bridge to MQTT and Home Assistant."""
