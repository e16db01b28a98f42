"""The projection of a gallery that is searched."""
