"""lungnode: a DICOM-native integration node for chest imaging. Research use only, not for diagnosis."""

__version__ = "0.1.0"
