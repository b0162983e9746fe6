"""JSON Schema, as much of it as Lathe's own schema uses; anything else is refused."""
import math
import re

KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "enum", "anyOf", "properties",
         "additionalProperties", "required", "minimum", "maximum", "items", "minItems", "maxItems",
         "minLength", "minProperties", "maxProperties", "pattern"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def has_type(value, name):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == "number":
        return number
    if name == "integer":
        return number and math.isfinite(value) and value == int(value)
    return isinstance(value, TYPES[name])


class Validator:
    def __init__(self, schema):
        self.root = schema

    def valid(self, value, schema=None):
        s = self.root if schema is None else schema
        unknown = set(s) - KNOWN
        assert not unknown, f"json_schema.py does not know {unknown}"
        if "$ref" in s:
            name = s["$ref"].removeprefix("#/$defs/")
            if not self.valid(value, self.root["$defs"][name]):
                return False
        if "type" in s and not has_type(value, s["type"]):
            return False
        if "enum" in s and not any(value == e and isinstance(value, str) == isinstance(e, str)
                                   for e in s["enum"]):
            return False
        if "anyOf" in s and not any(self.valid(value, o) for o in s["anyOf"]):
            return False
        if isinstance(value, str):
            return len(value) >= s.get("minLength", 0) and (
                "pattern" not in s or re.search(s["pattern"], value) is not None)
        if isinstance(value, list):
            return (s.get("minItems", 0) <= len(value) <= s.get("maxItems", len(value)) and
                    all(self.valid(v, s.get("items", {})) for v in value))
        if isinstance(value, dict):
            return self.object_valid(value, s)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return s.get("minimum", value) <= value <= s.get("maximum", value)
        return True

    def object_valid(self, value, s):
        if not s.get("minProperties", 0) <= len(value) <= s.get("maxProperties", len(value)):
            return False
        if not all(k in value for k in s.get("required", [])):
            return False
        properties, other = s.get("properties", {}), s.get("additionalProperties", {})
        for k, v in value.items():
            if k in properties:
                if not self.valid(v, properties[k]):
                    return False
            elif other is False or not self.valid(v, other):
                return False
        return True
