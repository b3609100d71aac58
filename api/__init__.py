"""The HTTP API and the dashboard: everything a person does with jobs, without touching Kafka."""
