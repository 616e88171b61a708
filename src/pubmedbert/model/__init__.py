"""Our BERT: packed rows, a vocabulary head at masked positions, and a two-way table of Hugging Face names."""
