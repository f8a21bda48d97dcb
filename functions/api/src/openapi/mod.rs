//! `GET /openapi.json`: the API described for programs (OpenAPI 3.1).
//!
//! `operations` lists the operations; a test compares it with the table of routes. The schemas of bodies, queries and
//! answers come from [`switchboard_contract`].

mod operations;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};
use switchboard_contract::{
    agents,
    declaration::{Parameter, Schemas},
    errors::{ErrorView, ValidationErrorView},
};
use switchboard_model::egress_policy::EgressPolicy;

use self::operations::{Operation, operations};
use crate::Api;

/// The errors of every operation that needs a token.
const WITH_TOKEN: [u16; 4] = [401, 429, 500, 503];
/// The errors of every operation with a body.
const WITH_BODY: [u16; 4] = [400, 413, 415, 422];

/// `GET /openapi.json`
pub(crate) async fn get(State(api): State<Api>) -> Json<Value> {
    Json(document(&api.public_url, api.egress_policy))
}

fn document(public_url: &str, egress_policy: EgressPolicy) -> Value {
    let mut schemas = Schemas::default();
    let error = schemas.view::<ErrorView>();
    let invalid = schemas.view::<ValidationErrorView>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut schemas, &error, &invalid);
        paths.entry(operation.path).or_insert_with(|| json!({}))[operation.method] = described;
    }
    let mut schemas = schemas.into_definitions();
    agents::show_url_scheme(&mut schemas, egress_policy);
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
    let (description, answer) = operation.answer;
    let answer = answer(schemas);
    let mut responses = json!({ "200": { "description": description, "content": content(&answer) } });
    for status in statuses(operation) {
        let (schema, description) =
            if status == 422 { (invalid, reason(status)) } else { (error, reason(status)) };
        responses[status.to_string()] = json!({ "description": description, "content": content(schema) });
        if matches!(status, 409 | 429) {
            responses[status.to_string()]["headers"]["Retry-After"] = json!({
                "description": "Seconds after which a repeated request may succeed.",
                "schema": { "type": "integer", "minimum": 1 },
            });
        }
    }
    let parameter = |place: &str, name: &str, about: &str, schema: Value| {
        json!({
            "name": name, "in": place, "required": place == "path", "description": about, "schema": schema,
        })
    };
    let mut parameters = vec![];
    for (name, about, schema) in &operation.path_parameters {
        parameters.push(parameter("path", name, about, schema(schemas)));
    }
    for Parameter { name, about, schema } in operation.query.map(|query| query(schemas)).unwrap_or_default() {
        parameters.push(parameter("query", name, about, schema));
    }
    if operation.creates {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "The same key with the same body within 24 hours has the same answer, and creates nothing \
                more.",
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
    if !operation.needs_token {
        described["security"] = json!([]);
    }
    described
}

fn statuses(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![];
    if operation.needs_token {
        statuses.extend(WITH_TOKEN);
    }
    if operation.body.is_some() {
        statuses.extend(WITH_BODY);
    }
    if !operation.path_parameters.is_empty() {
        statuses.push(404);
    }
    if operation.creates {
        statuses.extend([409, 422]);
    }
    if operation.query.is_some() {
        statuses.push(422);
    }
    statuses.extend(operation.errors);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "The body is not JSON.",
        401 => "No token, or an unknown one.",
        404 => "The account does not have this item.",
        409 => "Not possible in the current state, or a request with this idempotency key is still running.",
        413 => "The body is larger than 256 KiB.",
        415 => "The body is not `application/json`.",
        422 => "Some fields are wrong; the answer lists all of them.",
        429 => "The account sent too many requests per second, or more than 1,000 of its calls wait.",
        503 => "Temporarily unavailable; try again.",
        _ => "An internal error; `x-request-id` identifies the request.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use switchboard_contract::declaration::needs_example;

    use super::*;
    use crate::Route;

    #[test]
    fn every_route_is_described_and_no_other() {
        let described: BTreeSet<_> =
            operations().iter().map(|operation| (operation.method.to_uppercase(), operation.path)).collect();
        let routes: BTreeSet<_> =
            Route::all().iter().map(|route| (route.method.to_string(), route.path)).collect();
        assert_eq!(described, routes);
        for route in Route::all() {
            let is_same = |operation: &&Operation| {
                route.path == operation.path && route.method.as_str().eq_ignore_ascii_case(operation.method)
            };
            let operations = operations();
            let operation = operations.iter().find(is_same).unwrap();
            assert_eq!(operation.creates, route.creates, "{}: whether it creates an item", operation.id);
        }
    }

    #[test]
    fn operation_ids_are_unique_and_references_resolve() {
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
                .filter(|(_, schema)| needs_example(schema))
                .map(move |(field, _)| format!("{name}.{field}"))
        });
        assert_eq!(lacking.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn a_change_of_an_agent_has_no_defaults() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let body = &document["paths"]["/agents/{id}"]["patch"]["requestBody"]["content"]["application/json"];
        assert_eq!(body["schema"], json!({ "$ref": "#/components/schemas/AgentConfigUpdate" }));
        let schemas = &document["components"]["schemas"];
        let (update, create) = (&schemas["AgentConfigUpdate"], &schemas["AgentConfigInput"]);
        assert_eq!(update.get("required"), None);
        let names = |schema: &Value| -> Vec<String> {
            schema["properties"].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(update), names(create));
        for (name, field) in update["properties"].as_object().unwrap() {
            assert_eq!(field.get("default"), None, "{name}");
        }
    }

    #[test]
    fn a_field_with_a_default_may_be_absent_or_null() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["AgentConfigInput"].get("required"), None);
        assert_eq!(schemas["WebhookInput"]["required"], json!(["events", "url", "method"]));
        let duration = &schemas["AgentConfigInput"]["properties"]["max_duration_seconds"];
        assert_eq!((&duration["default"], &duration["minimum"]), (&json!(600), &json!(1)));
        let shown = schemas["AgentConfig"]["required"].as_array().unwrap();
        assert!(shown.contains(&json!("metadata")), "an answer has every field");
    }
}
