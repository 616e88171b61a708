"""The files of the BLURB data sets to examples: one module for each family of formats."""
