"""Wyoming in: what satellites of voice assistants hear and understand, as media."""
