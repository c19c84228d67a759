"""Things that are not there: detectors and their faults."""
