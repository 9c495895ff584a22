"""What lies on disk: folders written whole, weights, fingerprints, model cards, exports."""
