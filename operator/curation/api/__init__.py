"""The API group curation.dev/v1alpha1 as pydantic models, and all that follows from them: digests, CRDs, JSON Schemas.

Every other layer imports it; it imports nothing of ours and does no I/O. The CRDs in `crds/` are generated from here.
"""
