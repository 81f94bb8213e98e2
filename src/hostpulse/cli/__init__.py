"""The command `hostpulse`: parses and calls. Standard output is data, standard error is talk."""
