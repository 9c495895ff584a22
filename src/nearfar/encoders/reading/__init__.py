"""The inputs of encoders and their stores on disk, and pooling."""
