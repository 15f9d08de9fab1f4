"""Where a domain's mail goes: static routes, MX records, addresses, and the cache that keeps answers at hand."""
