"""Search in a stored or given corpus."""
