"""Media bytes to values, inside limits; what cannot be decoded is a value too."""
