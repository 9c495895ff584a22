"""Mining: hard negatives, and those that are likely false."""
