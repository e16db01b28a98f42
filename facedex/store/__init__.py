"""gallery.db: the people and faces of a gallery. Everything else in a gallery is derived from it."""
