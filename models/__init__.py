"""Arrays in, arrays out: the published imaging systems, their networks, training and evaluation.

Knows nothing of DICOM, of databases or of the ``node`` package. Research use only, not for diagnosis.
"""
