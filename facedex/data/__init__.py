"""Aligned faces by the thousand, for training and evaluation."""
