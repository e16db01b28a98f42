"""Bytes to pixels, and whose photo it is."""
