"""Search engines that hold a gallery's index beyond one machine."""
