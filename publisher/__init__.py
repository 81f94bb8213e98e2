"""The publisher: samples this machine and emits one JSON message per subsystem."""
