"""What metrics of classifiers share: the scores of the classes that were answered, and of the unknown class."""
