"""Frozen encoders whose weights were trained elsewhere: from files, plug-ins and packages. Listing them loads no torch."""
