"""Which headers say to a service behind a proxy who is calling.

A proxy that has checked a caller says so in a header, and the services behind it believe every peer that they take for
it. Whoever can choose such a header can speak as anybody: so no module may set one, nor the author of a module as a
credential (`curation.egress.headers`, `curation.api.module`).
"""

import re
from typing import Final

_SIGN: Final = re.compile(r"[^0-9a-z]")

_IDENTITY: Final = (
    # Where a request came from, and for which host it was.
    *("forwarded", "x-forwarded", "via", "true-client-ip", "client-ip", "x-real-ip", "x-client-ip", "x-host"),
    *("x-cluster-client-ip", "x-proxyuser-ip", "x-azure-clientip", "fastly-client-ip", "fly-client-ip"),
    *("cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "x-http-host-override", "x-host-override"),
    # Who sent it, as a proxy that has checked that says to the service behind it.
    *("client-cert", "client-cert-chain", "x-client-verify", "x-client-dn", "x-arr-clientcert", "remote-user"),
)
_IDENTITY_PREFIXES: Final = (
    *("x-forwarded-", "x-original-", "x-originating-", "x-rewrite-", "x-envoy-"),
    # Kubernetes, and the REMOTE_USER of CGI and of what imitates it.
    *("impersonate-", "remote-", "x-remote-", "http-remote-"),
    # Proxies: Grafana's, Kong, oauth2-proxy, authentik, Vouch, Pomerium, Tailscale, Shibboleth, WebLogic.
    *("x-webauth-", "x-authenticated-", "x-auth-request-", "x-consumer-", "x-authentik-", "x-vouch-", "x-pomerium-"),
    *("tailscale-user-", "shib-", "wl-proxy-"),
    # Those of clouds: Google's IAP and App Engine, AWS' load balancers, Azure's App Service, Cloudflare Access.
    *("x-goog-authenticated-", "x-goog-iap-", "x-appengine-", "x-amzn-oidc-", "x-ms-client-principal", "x-ms-token-"),
    *("cf-access-authenticated-", "cf-access-jwt-"),
    # Client certificates that a proxy has seen.
    *("x-client-cert", "x-ssl-", "ssl-client-"),
)

IDENTITY_PATTERN: Final = f"^(({'|'.join(_IDENTITY)})$|({'|'.join(_IDENTITY_PREFIXES)}))".replace("-", "[^0-9a-z]")
"""Matches the names of such headers in lower case, in CEL too, whatever sign stands for the hyphen."""


def folded(name: str) -> str:
    """A header's name as servers compare it: in one case, and with ``-`` for ``_``, which are one to CGI and WSGI.

    ``X_Forwarded_For`` is ``X-Forwarded-For`` to them (both are HTTP_X_FORWARDED_FOR), so it is to us.
    """
    return name.lower().replace("_", "-")


def as_variable(name: str) -> str:
    """A header's name as it is to servers that make a CGI variable of it: to some (lighttpd) every sign is a ``_``."""
    return _SIGN.sub("-", name.lower())


def says_who_is_calling(name: str) -> bool:
    """Whether it is one of these, in whatever spelling."""
    plain = as_variable(name)
    return plain in _IDENTITY or plain.startswith(_IDENTITY_PREFIXES)
