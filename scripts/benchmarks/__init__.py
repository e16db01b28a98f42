"""What measures the figures in the READMEs and in the model card."""
