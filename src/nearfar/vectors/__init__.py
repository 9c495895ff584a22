"""Functions of vectors: geometry, exact top-k, quantization, embedding a column in slices."""
