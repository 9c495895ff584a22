"""Functions of texts: BM25, near-duplicates, the tokenizer, prompts, words and sentences."""
