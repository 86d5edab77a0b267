"""iqabench: settle claims about the adversarial robustness of image-quality models."""

__version__ = "0.1.0"
