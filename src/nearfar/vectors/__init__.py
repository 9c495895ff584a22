"""Functions of vectors: geometry, exact top-k, quantization, and embedding a column in slices."""
