"""Several tasks over shared encoders: one reading of words, pictures and sound, a head and a fusion for each task."""
