"""Face detection in photos, and aligned crops of the faces."""
