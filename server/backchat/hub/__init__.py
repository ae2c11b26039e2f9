"""Who is attached to what, and how events reach them."""
