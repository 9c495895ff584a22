"""How encoders read cells and pool tokens: inputs, stores on disk, pooling."""
