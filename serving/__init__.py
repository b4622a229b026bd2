"""HTTP in front of the functions: request -> raw event -> `main` -> response, as the platform does it, in one process."""
