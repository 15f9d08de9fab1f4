"""What is due when, and what is ready for which site. Plain objects; the clock is passed in; no IO."""
