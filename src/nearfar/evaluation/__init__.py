"""Evaluation: metrics of a model and its baselines on a task, with confidence intervals."""
