"""What the audit of data looks at: a file a check, each a function of the material that returns what it found."""
