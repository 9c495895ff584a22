"""Captions of pictures: the sources that hold them, and how the pictures that they name are found."""
