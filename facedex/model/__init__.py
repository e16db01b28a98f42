"""Crops to embeddings, embeddings to logits, and the file that a model is."""
