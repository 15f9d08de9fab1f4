"""IO shells: thin owners of a socket and a deadline around a sans-IO session. They decide nothing."""
