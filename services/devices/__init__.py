"""Devices as the settings know them: whose session their records belong to, and what their clocks need."""
