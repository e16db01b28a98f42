"""Pixels to faces, and faces to aligned crops."""
