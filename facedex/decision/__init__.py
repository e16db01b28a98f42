"""Logits to an answer: probabilities, thresholds, names."""
