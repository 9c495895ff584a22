"""The exact engine of the pairwise losses: it traverses the similarity matrix tile by tile and never holds it whole."""
