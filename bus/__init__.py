"""The contract that publisher and consumer share: topics, messages, their schema, and the MQTT session.

This package imports nothing else of hostpulse.
"""
