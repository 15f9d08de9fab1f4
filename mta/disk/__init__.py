"""What everything that remembers on disk stands on: an LMDB environment with its lock, the thread that waits for the
disk, the look at free space and at mapped pages. Spool, store and directory stand beside each other on this."""
