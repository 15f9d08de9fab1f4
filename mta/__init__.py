"""Hermes, a mail transfer agent. This package imports nothing by itself, so that every command starts fast."""

__version__ = "0.1.0"
