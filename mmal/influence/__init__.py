"""Influence of images on a loss."""
