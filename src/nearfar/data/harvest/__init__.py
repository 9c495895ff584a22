"""Harvesting pairs of docstring and code from Python packages."""
