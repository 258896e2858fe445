//! JSON objects, made without `json!`: its `to_value(..).unwrap()` would bring 10 KB of error printing into the component.

use serde_json::{Map, Value};

pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut map = Map::new();
    for (key, value) in fields {
        map.insert(key.into(), value);
    }
    Value::Object(map)
}

/// A copy of a value of the context; null if it is left out.
pub fn copy(value: Option<&Value>) -> Value {
    value.cloned().unwrap_or(Value::Null)
}
