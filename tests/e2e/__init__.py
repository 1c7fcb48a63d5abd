"""The whole node from outside: real senders, ``lungnode serve`` as a process, a real Orthanc that takes the results."""
