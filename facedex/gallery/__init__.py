"""People enrolled in a folder: enroll, look up, rename, remove, repair, back up."""
