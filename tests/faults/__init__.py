"""What breaks the world on purpose, for the integration tests and the gauntlet."""
