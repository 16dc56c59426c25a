"""What runs learned, shown to a person: pictures of their losses, a report of one page."""
