"""The generated corpus of drug facts in NLM form, and the quickstart that runs the whole chain on it."""
