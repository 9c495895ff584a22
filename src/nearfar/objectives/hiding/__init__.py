"""How objectives over texts hide tokens, and the loss of predicting them."""
