"""Training: the VAE and base (pretrain), stage 1 (structure), stage 2 (decoder)."""
