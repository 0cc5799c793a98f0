"""What people will want to vary: one question a file, alternatives side by side."""
