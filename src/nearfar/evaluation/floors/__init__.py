"""Floors: what any model must beat. Each file is one, with one public class; its name, with dashes, is a baseline."""
