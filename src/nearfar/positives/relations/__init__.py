"""What is known of which query is near which key, and the parts of rows that positives share."""
