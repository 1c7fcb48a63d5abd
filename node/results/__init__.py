"""DICOM objects made of an analysis: one file per kind of object. No database, no network, no torch."""
