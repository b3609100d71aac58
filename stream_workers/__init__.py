"""Stream workers: processes that turn one topic's messages into another's."""
