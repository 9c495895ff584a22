"""The networks under `encoders.image`: nearfar's own and those of timm and transformers, new or with weights."""
