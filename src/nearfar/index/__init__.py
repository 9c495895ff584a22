"""Search in a corpus of texts, and vectors stored in files."""
