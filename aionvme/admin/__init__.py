"""The controller: bring-up, shutdown, reset, identify, its queues, log pages, features, namespaces."""
