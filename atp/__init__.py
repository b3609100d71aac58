"""The AT Protocol, from an account's name to its verified records. No Kafka, no settings.

What comes out of here was proven: a caller never has to check a hash, a signature or an address again.
"""
