"""Plays recorded streams as their devices would have sent them."""
