"""The shipped data sets: what is read from their manifests, never from file names."""
