"""Tools for the tests of every sync: tokens on loan, and jobs worked off within a test."""
