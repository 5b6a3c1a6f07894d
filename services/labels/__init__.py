"""Corrections: what people say that an answer should have been, with the media that it was made from."""
