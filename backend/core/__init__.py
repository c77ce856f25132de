"""The few ideas that every room is made of."""
