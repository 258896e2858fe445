"""JSON Schemas of the kinds, for editors and kubeconform: what the API server checks, but for the CEL rules.

`hack.generate` calls it. An unknown field is an error, as `kubectl apply --validate=strict` has it.
"""

from typing import Any, Final

FOLDER: Final = "docs/schemas/kubeconform"
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"

Document = dict[str, Any]


def manifest_schemas(crd: Document) -> dict[str, Document]:
    """Each version of a CRD: the file that kubeconform's template `{{.ResourceKind}}_{{.ResourceAPIVersion}}` names."""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    found = {}
    for version in crd["spec"]["versions"]:
        schema = _json_schema(version["schema"]["openAPIV3Schema"])
        name = version["name"]
        schema["properties"] |= {
            "apiVersion": {"type": "string", "enum": [f"{group}/{name}"]},
            "kind": {"type": "string", "enum": [kind]},
            # Kubernetes' own, and it may be more than this.
            "metadata": {"type": "object"},
        }
        required = sorted({"apiVersion", "kind", "metadata", *schema.get("required", ())})
        found[f"{kind.lower()}_{name}.json"] = {"$schema": _DIALECT, **schema, "required": required}
    return found


def _json_schema(schema: Document) -> Document:
    made = {
        name: value for name, value in schema.items() if not name.startswith("x-kubernetes-") and name != "nullable"
    }
    for name in ("items", "additionalProperties", "not"):
        if isinstance(made.get(name), dict):
            made[name] = _json_schema(made[name])
    for name in ("allOf", "anyOf", "oneOf"):
        if name in made:
            made[name] = [_json_schema(each) for each in made[name]]
    if "properties" in made:
        made["properties"] = {name: _json_schema(each) for name, each in made["properties"].items()}
        # Beside `type` alone: a branch of anyOf names only some of the fields.
        if made.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    return made
