"""Where the rows of an index lie: `exact`, `lance`, `pgvector`."""
