"""Figures of single images and layers, as the reference paper has them."""
