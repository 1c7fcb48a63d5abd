"""Network architectures, one per file. Tensors are NCHW float32; no image operation and no training here."""
