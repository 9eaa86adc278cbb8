"""vfio-user: VFIO's questions and answers as messages on a UNIX socket. The server's side is the mock's."""
