"""The whole system on one machine: database, provider sandbox, gateway and scheduler. Never deployed."""
