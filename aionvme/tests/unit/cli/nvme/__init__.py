"""Sub-commands in nvme-cli's language."""
