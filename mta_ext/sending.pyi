"""Server sessions that put out more than fits in one write."""

from mta_ext.deciding import DecidingSession

class SendingSession(DecidingSession):
    """``take_output`` gives about 64 KiB at a time, and ``go_on`` says True while there is more to take: octets are
    asked for only by ``take_output``, so call it when the peer reads. Meanwhile ``choked`` is True and nothing is
    parsed. ``progress`` grows with each part. ``shut`` in the middle of it closes without the last word."""
