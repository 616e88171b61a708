"""Masked-language-model pretraining: exact, resumable, described by a recipe."""
