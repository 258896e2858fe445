"""The real cert-manager, built here: what of it a self-signed and a CA issuer need, and its cainjector.

`make certmanager` builds it once (`build`) and tests `manifests/components/webhook-cert-manager` with it.
"""
