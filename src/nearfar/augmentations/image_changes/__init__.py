"""The changes of `image`: each over a whole batch (n, 3, h, w) in 0 to 1, with parameters of its own for each row."""
