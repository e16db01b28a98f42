"""gallery.db: who is enrolled. Everything else is derived from it."""
