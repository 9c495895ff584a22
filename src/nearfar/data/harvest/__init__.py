"""Harvesting docstrings and code from Python packages."""
