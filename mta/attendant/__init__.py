"""The system attendant: the base service that starts, watches, measures and administers all others."""
