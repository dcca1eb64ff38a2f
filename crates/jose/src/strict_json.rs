//! JSON that means one thing: no name twice in an object, no deep nesting (RFC 8725 §2.6, RFC 7515 §4, RFC 7519 §4).
//!
//! Two readers of `{"sub":"a","sub":"b"}` may each take another member. Here the text is refused.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep objects and arrays may nest; the outermost object counts as one.
pub const MAX_DEPTH: usize = 16;

/// The text is not one strict JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one JSON object with distinct names, numbers in range and at most {MAX_DEPTH} levels")]
pub struct NotStrictJson;

/// Reads exactly one JSON object: UTF-8, no name twice at any depth, no number out of range, nothing after it.
///
/// # Errors
///
/// [`NotStrictJson`].
pub fn object(json: &[u8]) -> Result<Map<String, Value>, NotStrictJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = StrictValue { levels_left: MAX_DEPTH }.deserialize(&mut deserializer).map_err(|_| NotStrictJson)?;
    deserializer.end().map_err(|_| NotStrictJson)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(NotStrictJson),
    }
}

/// Reads one value; objects and arrays take a level each.
#[derive(Clone, Copy)]
struct StrictValue {
    levels_left: usize,
}

impl StrictValue {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("strict JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("name given twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let json = r#" {"a":[1,-2,2.5,true,null,"x\u00e9"],"b":{"c":{}},"d":18446744073709551615} "#;
        assert_eq!(object(json.as_bytes()).map(Value::Object), Ok(serde_json::from_str(json).unwrap()));
    }

    #[test]
    fn refuses_a_name_given_twice_at_any_depth_and_in_any_spelling() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":[{"c":1,"c":2}]}}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(object(json.as_bytes()), Err(NotStrictJson), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_single_object() {
        for json in ["", "1", "[]", "null", "\"a\"", "{}{}", "{},", "{\"a\":1e400}", "{'a':1}", "{\"a\":1,}", "{a:1}"] {
            assert_eq!(object(json.as_bytes()), Err(NotStrictJson), "{json}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(NotStrictJson));
        assert_eq!(object(b"{\"a\":\"\\ud800\"}"), Err(NotStrictJson));
    }

    #[test]
    fn refuses_more_than_sixteen_levels() {
        assert!(object(nested(16).as_bytes()).is_ok());
        assert_eq!(object(nested(17).as_bytes()), Err(NotStrictJson));
        assert_eq!(object(format!("{{\"a\":{}", "[".repeat(8000)).as_bytes()), Err(NotStrictJson));
    }
    proptest! {
        #[test]
        fn what_it_accepts_serde_json_reads_alike(json in r#"[{}\[\]",:0-9eE.+\\ua-c -]{0,40}"#, bytes in "\\PC*") {
            for json in [format!("{{{json}}}"), format!("{{\"a\":{json}}}"), bytes] {
                if let Ok(members) = object(json.as_bytes()) {
                    prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Object(members));
                }
            }
        }
    }
}
