"""The networks under `encoders.image`: those of timm and of transformers, new, from a folder, or from a package."""
