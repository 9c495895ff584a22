"""Sets of pictures: which are of which split and class, and their pixels, decoded once."""
