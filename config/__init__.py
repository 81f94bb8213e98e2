"""The settings: one model, read from the command line, the environment, secret files and TOML files.

    from hostpulse.config.load import load      the effective settings and where each came from
    from hostpulse.config.settings import Settings
    from hostpulse.config.show import describe  for `hostpulse config show`

Of hostpulse, this package imports `bus` at most.
"""
