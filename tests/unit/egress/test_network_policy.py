"""The shipped NetworkPolicy: the net behind the address floor has no hole where the floor has none."""

from ipaddress import ip_network
from pathlib import Path

import yaml

from curation.egress.floor import NEVER

_POLICY = Path(__file__).parents[3] / "manifests" / "base" / "network-policy.yaml"


def test_no_address_where_a_cloud_serves_metadata_can_be_reached_but_for_dns() -> None:
    policy = yaml.safe_load(_POLICY.read_text(encoding="utf-8"))
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", ())]
    closed = {ip_network(each) for block in blocks for each in block["except"]}
    metadata = {network for network, why in NEVER if "metadata" in why}
    assert len(metadata) > 4
    assert metadata <= closed
    open_to_all = [rule for rule in policy["spec"]["egress"] if "to" not in rule]
    assert [{port["port"] for port in rule["ports"]} for rule in open_to_all] == [{53}]
