"""Documents: files of many kinds are read, cut into passages, embedded and kept in an index, anew where they change."""
