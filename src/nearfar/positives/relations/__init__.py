"""What the definitions of positives share: known pairs, people's decisions, columns of a table, held-out tasks."""
