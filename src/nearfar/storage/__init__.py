"""What is kept on disk or sent to a hub: atomic writes, weights, fingerprints, model cards, ONNX exports."""
