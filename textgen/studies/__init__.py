"""What runs learned, shown: pictures of their losses, a report; variants set side by side."""
