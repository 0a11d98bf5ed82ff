"""In-process stand-ins for the remote services the project talks to, over real loopback sockets."""
