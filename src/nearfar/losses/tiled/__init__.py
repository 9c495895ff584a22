"""The exact engine of the pairwise losses: the similarity matrix tile by tile, never held whole."""
