"""One spelling for each domain of ours: A-labels, as configuration, directory and DNS have them (RFC 5890).

Owns: that step, for addresses that come from outside (RFC 6531 lets them have either). Never does: look anything up.
"""


def in_ascii(address: str) -> str:
    """With its domain in A-labels; as it came where it is no domain."""
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    from mta.routing.names import ascii_domain  # few need it, and not every service has DNS

    return f"{local}{at}{ascii_domain(domain) or domain}"
