"""The user's photo library: what other programs know of its photos, and what they are told."""
