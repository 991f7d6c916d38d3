"""The version, in one place (both sides)."""

__version__ = "0.1.0"
