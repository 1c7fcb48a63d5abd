"""The node over HTTP: health and metrics here; DICOMweb, the API over results and the pages in rooms of their own."""
