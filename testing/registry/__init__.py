"""A real registry (CNCF distribution) and a real client (oras) for tests, built from Go modules once."""
