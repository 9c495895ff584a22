"""How objectives over texts choose what is hidden, and what the output layer costs."""
