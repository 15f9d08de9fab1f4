def build_dsn(kind, message, recipients, **k): return b"Subject: x\r\n\r\nstub\r\n"
