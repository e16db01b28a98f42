"""Photos to faces, faces to names, and two photos to one answer."""
