"""The way out: canonical URLs, the address floor that no policy can lift, header hygiene, and the HTTP client.

Called by `execution.calls`: `parse_url` before the gate is asked, `EgressClient.send` after it has allowed.
"""
