"""The program: command line, console and settings."""
