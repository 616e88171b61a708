"""The forms in which annotated texts are handed out, read as examples."""
