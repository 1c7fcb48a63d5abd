"""The archive: complete DICOM files, durable before anybody is told of them.

``folder`` keeps them in a folder, ``bucket`` in a bucket of an object store with that folder as a cache; ``objects``
speaks S3, ``cache`` says what of the folder may go. Knows no database and no data set.
"""

from node.archive.folder import ARCHIVE_ID as ARCHIVE_ID
from node.archive.folder import PREAMBLE as PREAMBLE
from node.archive.folder import RECEIVED as RECEIVED
from node.archive.folder import RESULTS as RESULTS
from node.archive.folder import Archive as Archive
from node.archive.folder import failure as failure
