"""Answers from a model: fill-mask, and export to a Hugging Face folder."""
