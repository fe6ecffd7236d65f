"""A run's newest detector behind the protocol of Label Studio's backends."""
