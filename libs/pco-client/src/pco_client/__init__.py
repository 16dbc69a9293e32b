"""Planning Center over HTTP: typed, paced, paginated, errors that say what to do."""
