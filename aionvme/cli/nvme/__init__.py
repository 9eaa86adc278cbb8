"""Sub-commands in the language of nvme-cli 2.x: its names, its options, its JSON.

Belongs here: `frame` and `options`, which every such sub-command shares, `document` and `output`, by which a structure
becomes JSON or lines for a person, the tables of keys beside the sub-commands that show them, and nothing that the
public names do not have. The reference is nvme-cli 2.16 (Debian's nvme-cli 2.16-1): keys, options and exit statuses are
what it prints, and what its nvme.c and nvme-print-json.c say.
"""
