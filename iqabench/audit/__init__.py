"""Whether a defense's robustness is real: adaptive attacks, probes of its gradient, a verdict."""
