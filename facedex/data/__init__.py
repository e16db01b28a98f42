"""Sets of aligned faces for training and evaluation."""
