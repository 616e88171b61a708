"""BLURB: its 13 data sets, its score and its report (Gu et al. 2020, section 2.3)."""
