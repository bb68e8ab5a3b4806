"""Pretrain the embedded base model, micro, from scratch."""
