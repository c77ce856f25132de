"""The lab: a private sandbox of real servers, for demonstration and for tests."""
