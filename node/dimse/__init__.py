"""The DICOM network: the only room that imports pynetdicom. Handlers translate; the decisions are the pipeline's."""
