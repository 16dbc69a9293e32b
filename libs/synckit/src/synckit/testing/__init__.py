"""What tests of every sync use: tokens on loan, and jobs worked off within a test."""
