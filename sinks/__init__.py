"""Sinks: the rows of `records`, stored exactly once in Parquet files and DynamoDB tables."""
