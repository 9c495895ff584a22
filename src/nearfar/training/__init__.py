"""Training: `fit`, and what it is built from: sampling, batches, the gradient step, checkpoints, evaluation, log."""
