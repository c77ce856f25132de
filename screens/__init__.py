"""What the console shows: one module per room with a screen of its own, and what they share."""
