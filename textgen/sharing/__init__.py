"""A trained model as one file for others: weights alone, or a page that writes."""
