"""Published systems, one per file, end to end: from ``ImageInput`` to ``LungField`` or ``Prediction``."""
