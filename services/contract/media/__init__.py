"""What the first bytes of media say: size of a picture, length of a sound. Nothing is decoded here."""
