"""The audit trail as DICOM audit messages (PS3.15 A.5) over syslog: one module a step, bytes in between."""
