//! `GET /openapi.json`: the API described for programs (`OpenAPI` 3.1), made from the types that are served.
//!
//! `operations` says what each route takes and gives; a test holds it against the table of routes.
//! `schemas` reads the types.

mod bodies;
mod examples;
mod operations;
mod schemas;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};
use switchboard_model::egress_policy::EgressPolicy;

use self::{
    operations::{Operation, Place, operations},
    schemas::Schemas,
};
use crate::Api;

/// What goes wrong anywhere behind a token.
const ANYWHERE: [u16; 4] = [401, 429, 500, 503];
/// What goes wrong with a body.
const WITH_BODY: [u16; 4] = [400, 413, 415, 422];

/// `GET /openapi.json`
pub(crate) async fn serve(State(api): State<Api>) -> Json<Value> {
    Json(document(&api.public_url, api.egress_policy))
}

fn document(public_url: &str, egress_policy: EgressPolicy) -> Value {
    let mut schemas = Schemas::new();
    let error = schemas.answer::<bodies::Error>();
    let invalid = schemas.answer::<bodies::Invalid>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut schemas, &error, &invalid);
        paths.entry(operation.path).or_insert_with(|| json!({}))[operation.method] = described;
    }
    let mut schemas = schemas.finish();
    let scheme = match egress_policy {
        EgressPolicy::PublicOnly => "^https://",
        EgressPolicy::Local => "^https?://",
    };
    for name in
        ["Webhook", "NumberWebhook"].iter().flat_map(|name| [(*name).to_owned(), format!("{name}Input")])
    {
        if let Some(Value::Object(url)) =
            schemas.get_mut(&name).map(|schema| &mut schema["properties"]["url"])
        {
            url.insert("pattern".into(), scheme.into());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Phone calls held by AI agents.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": public_url }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "`sk_` and 32 characters." },
            },
        },
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas, error: &Value, invalid: &Value) -> Value {
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let answer = (operation.answer)(schemas);
    let mut responses = json!({ "200": { "description": operation.gives, "content": content(&answer) } });
    for status in statuses(operation) {
        let (schema, description) =
            if status == 422 { (invalid, reason(status)) } else { (error, reason(status)) };
        responses[status.to_string()] = json!({ "description": description, "content": content(schema) });
        if matches!(status, 409 | 429) {
            responses[status.to_string()]["headers"]["Retry-After"] = json!({
                "description": "Seconds after which it is worth asking again, where it is.",
                "schema": { "type": "integer", "minimum": 1 },
            });
        }
    }
    let mut parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": match parameter.place { Place::Path => "path", Place::Query => "query" },
                "required": parameter.place == Place::Path,
                "description": parameter.description,
                "schema": (parameter.schema)(schemas),
            })
        })
        .collect();
    if operation.is_create {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "The same key with the same body within 24 hours is answered as the first time, and \
                makes nothing.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$" },
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag()],
        "summary": operation.summary,
        "responses": responses,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        described["requestBody"] = json!({ "required": true, "content": content(&body(schemas)) });
    }
    if !operation.is_guarded {
        described["security"] = json!([]);
    }
    described
}

fn statuses(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![];
    if operation.is_guarded {
        statuses.extend(ANYWHERE);
    }
    if operation.body.is_some() {
        statuses.extend(WITH_BODY);
    }
    if operation.parameters.iter().any(|parameter| parameter.place == Place::Path) {
        statuses.push(404);
    }
    if operation.is_create {
        statuses.extend([409, 422]);
    }
    if operation.parameters.iter().any(|parameter| parameter.place == Place::Query) {
        statuses.push(422);
    }
    statuses.extend(operation.statuses);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "The body is not JSON.",
        401 => "No token, or one that opens nothing.",
        404 => "The account has no such thing.",
        409 => "Not possible as things stand, or the request with this idempotency key is still running.",
        413 => "The body is larger than 256 KiB.",
        415 => "The body is not `application/json`.",
        422 => "Some fields are wrong; all of them are named.",
        429 => "More requests than the account may send, or more than 1,000 of its calls wait.",
        503 => "Not now; try again.",
        _ => "A defect of ours; `x-request-id` names it.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Route;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: BTreeSet<_> =
            operations().iter().map(|operation| (operation.method.to_uppercase(), operation.path)).collect();
        let routes: BTreeSet<_> =
            Route::all().iter().map(|route| (route.method.to_string(), route.path)).collect();
        assert_eq!(described, routes);
        for route in Route::all() {
            let is_it = |operation: &&Operation| {
                route.path == operation.path && route.method.as_str().eq_ignore_ascii_case(operation.method)
            };
            let operations = operations();
            let operation = operations.iter().find(is_it).unwrap();
            assert_eq!(operation.is_create, route.creates, "{}: whether it makes something", operation.id);
        }
    }

    #[test]
    fn ids_of_operations_are_unique_and_every_reference_is_there() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let ids: BTreeSet<_> = operations().iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations().len());
        let text = document.to_string();
        for reference in text.split(r##""$ref":"#"##).skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some_and(|schema| !schema.is_null()), "{pointer}");
        }
    }

    #[test]
    fn every_field_of_a_body_is_described() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                assert!(
                    schema.get("description").is_some() || schema.get("const").is_some(),
                    "{name}.{field}"
                );
            }
        }
    }

    #[test]
    fn every_plain_field_of_a_body_has_an_example() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let lacking = schemas.iter().flat_map(|(name, schema)| {
            let alternatives = schema["oneOf"].as_array().into_iter().flatten().chain([schema]);
            let fields =
                alternatives.flat_map(|schema| schema["properties"].as_object().into_iter().flatten());
            fields
                .filter(|(_, schema)| examples::wants(schema))
                .map(move |(field, _)| format!("{name}.{field}"))
        });
        assert_eq!(lacking.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn what_has_a_default_may_be_left_out_or_null() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["AgentConfigInput"].get("required"), None);
        assert_eq!(schemas["WebhookInput"]["required"], json!(["events", "url", "method"]));
        let duration = &schemas["AgentConfigInput"]["properties"]["max_duration_seconds"];
        assert_eq!((&duration["default"], &duration["minimum"]), (&json!(600), &json!(1)));
        let shown = schemas["AgentConfig"]["required"].as_array().unwrap();
        assert!(shown.contains(&json!("metadata")), "what is shown is always there");
    }
}
