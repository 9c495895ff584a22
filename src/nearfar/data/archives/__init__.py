"""Members of folders and archives, read safely: no path leads out, no link is followed, and sizes are limited."""
