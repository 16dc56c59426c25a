"""From files to ids and back."""
