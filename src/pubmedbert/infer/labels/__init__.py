"""What fine-tuned models say: rows and windows, spans of entities, classes of texts."""
