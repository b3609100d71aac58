"""Kafka as skyfill uses it: topics, clients, the partitioner, transactions, offset windows, views."""
