"""Guests in pods on the real API server and Job controller, with a kubelet that runs their containers as processes."""

from tests.harness.pod_fixtures import plane, pods, whole_plane

__all__ = ["plane", "pods", "whole_plane"]
