"""What fetch_data.py is made of."""
