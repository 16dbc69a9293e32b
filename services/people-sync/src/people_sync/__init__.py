"""The directory and its two-way sync with Planning Center People."""
