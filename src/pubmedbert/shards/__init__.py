"""Tokenised documents on disk, and the pure functions that turn them into training samples."""
