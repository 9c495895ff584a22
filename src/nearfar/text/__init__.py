"""Functions of text: BM25, near-duplicates, the tokenizer, prompts, words and sentences."""
