"""Filling masks: single pieces, words of several pieces, named targets, and several masks together."""
