//! The description of the API, as it is served: in the form that generators of clients understand.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// The member that tells the kinds of a thing apart.
const KIND: &str = "kind";

/// The OpenAPI document in JSON, made once.
#[derive(Clone)]
pub(super) struct Served(Bytes);

impl Served {
    pub(super) fn new(document: &OpenApi) -> Self {
        // Texts, numbers and maps of texts: nothing in it can fail to become JSON.
        Self(Bytes::from(serde_json::to_vec_pretty(&told(document)).unwrap_or_default()))
    }

    pub(super) fn answer(&self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.clone()).into_response()
    }
}

/// The document as it is served.
pub(super) fn told(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let operations = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut).for_each(describe_answers);
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        join_kinds(schemas);
    }
    document
}

/// Each answer has a description (OpenAPI 3.1 §4.8.17): where none is written, what the operation does says it.
fn describe_answers(operation: &mut Value) {
    let summary = operation.get("summary").cloned().unwrap_or_default();
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for answer in answers.filter_map(Value::as_object_mut) {
        answer.entry("description").or_insert_with(|| summary.clone());
    }
}

/// A thing of several kinds is one of several schemas, each with its own `kind`, which a discriminator names (OpenAPI 3.1 §4.8.25). As
/// written each is two schemas of which all hold, and few generators make anything of that.
fn join_kinds(schemas: &mut Map<String, Value>) {
    let unions: Vec<(String, Vec<Variant>)> =
        schemas.iter().filter_map(|(name, of)| Some((name.clone(), variants(of)?))).collect();
    for (name, variants) in unions {
        for Variant { reference, kind } in &variants {
            let part = reference.rsplit('/').next().and_then(|part| schemas.get_mut(part));
            if let Some(part) = part.and_then(Value::as_object_mut) {
                let members = part.entry("properties").or_insert_with(|| json!({}));
                members
                    .as_object_mut()
                    .and_then(|members| members.insert(KIND.to_owned(), json!({ "type": "string", "enum": [kind] })));
                let required = part.entry("required").or_insert_with(|| json!([]));
                required.as_array_mut().into_iter().for_each(|required| required.push(json!(KIND)));
                part.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        let Some(union) = schemas.get_mut(&name).and_then(Value::as_object_mut) else { continue };
        let mapping: Map<String, Value> =
            variants.iter().map(|variant| (variant.kind.clone(), json!(variant.reference))).collect();
        let each: Vec<Value> = variants.iter().map(|variant| json!({ "$ref": variant.reference })).collect();
        union.insert("oneOf".to_owned(), json!(each));
        union.insert("discriminator".to_owned(), json!({ "propertyName": KIND, "mapping": mapping }));
    }
}

/// One kind of a thing.
struct Variant {
    reference: String,
    kind: String,
}

/// The kinds, where a schema is one of several, each a part beside its `kind`.
fn variants(schema: &Value) -> Option<Vec<Variant>> {
    let variant = |one: &Value| {
        let reference = one.pointer("/allOf/0/$ref")?.as_str()?.to_owned();
        let kind = one.pointer("/allOf/1/properties/kind/enum/0")?.as_str()?.to_owned();
        Some(Variant { reference, kind })
    };
    schema.get("oneOf")?.as_array()?.iter().map(variant).collect()
}
