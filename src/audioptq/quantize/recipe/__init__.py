"""Recipes: what is done to which layer, read from config entries and checked."""
