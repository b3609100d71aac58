"""Every message, table, setting and error of skyfill, each as one typed model. Imports nothing of ours."""
