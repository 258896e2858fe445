"""A grant as Cedar text, written by Cedar itself.

What a module put into a path or a query is a JSON string value, never a piece of Cedar, so there is nothing to quote
and nothing to forget.
"""

import json

import cedarpy

from curation.authz.grant import Grant


def grant_text(grant: Grant) -> str:
    """The policy as text: shown in the approval's status, and what the gate adds. Raises ValueError."""
    document = {"staticPolicies": {"grant": grant.to_cedar_json()}, "templates": {}, "templateLinks": []}
    return cedarpy.format_policies(cedarpy.policies_from_json_str(json.dumps(document)), line_width=120)
