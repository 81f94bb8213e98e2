"""What `hostpulse up` stands on: the embedded broker, supervised child processes, and one run per data directory."""
