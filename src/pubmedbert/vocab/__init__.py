"""WordPiece vocabularies: trained on the corpus, compared on its terms."""
