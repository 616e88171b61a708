"""A run or a model as a folder that others load."""
