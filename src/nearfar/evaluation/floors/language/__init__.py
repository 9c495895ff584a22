"""What counts of token ids predict of held-out documents: the floors of language models."""
