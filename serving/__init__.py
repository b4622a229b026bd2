"""HTTP in front of the functions, as on the platform, in one process: request -> raw event -> `main` -> response."""
