"""What a model is put to use for, thin over model, task and metric."""
