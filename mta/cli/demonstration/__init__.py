"""What ``mta demo`` is made of: the stage with its servers, the scenes, and how they are drawn."""
