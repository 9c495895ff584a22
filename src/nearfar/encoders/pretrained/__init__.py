"""Reading and writing pretrained models: the folders, backbone, tokenizer and modules."""
