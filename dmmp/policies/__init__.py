"""What people will want to vary: one question a file, a narrow signature, alternatives beside it."""
