"""What metrics of the embedding space share: the sample of it that they read."""
