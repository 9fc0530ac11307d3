"""Shipped recipes: flat and complete YAML files."""
