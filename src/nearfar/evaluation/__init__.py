"""Is the space any good? Metrics over a task, with intervals, beside the peers: a report."""
