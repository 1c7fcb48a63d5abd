"""DICOMweb as an origin server (PS3.18 section 10): search, retrieve and store, over the archive of the node."""
