"""What every product's sync with Planning Center shares."""
