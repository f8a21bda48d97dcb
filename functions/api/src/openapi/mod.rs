//! `GET /openapi.json`: the API described for programs (OpenAPI 3.1).
//!
//! `operations` lists the operations; a test compares it with the table of routes. The schemas of bodies, queries and
//! answers come from [`switchboard_contract`].

mod operations;

use std::collections::BTreeSet;

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

/// The resources, as the document lists them.
const TAGS: [(&str, &str); 6] = [
    ("service", "The service and its description."),
    ("account", "The account of the token: its limits with their use, and the health of its webhooks."),
    ("conversations", "Phone calls: placing, listing and ending them, their recordings and events."),
    ("agents", "Stored configurations of agents."),
    ("phone_numbers", "Numbers: buying, importing, and the choice of the agent that answers."),
    ("credentials", "The customer's own keys of providers."),
];

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
    let used = used(&schemas, &paths);
    schemas.retain(|name, _| used.contains(name));
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
        "tags": TAGS.map(|(name, about)| json!({ "name": name, "description": about })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "`sk_` and 32 characters." },
            },
        },
    })
}

/// The names of the schemas that the paths refer to, directly or by other schemas.
fn used(schemas: &Map<String, Value>, paths: &Map<String, Value>) -> BTreeSet<String> {
    let mut open = vec![];
    paths.values().for_each(|path| references(path, &mut open));
    let mut used = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = schemas.get(&name)
            && used.insert(name)
        {
            references(schema, &mut open);
        }
    }
    used
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            found.extend(name.map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        _ => {}
    }
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
        "description": operation.about,
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
        429 => {
            "The account sent too many requests per second, more than 1,000 of its calls wait, or it has reached its spend \
             limit of the day."
        }
        503 => "Temporarily unavailable; try again.",
        _ => "An internal error; `x-request-id` identifies the request.",
    }
}

#[cfg(test)]
mod tests {
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
                // One value, which names the alternative, needs none.
                let is_tag = schema["enum"].as_array().is_some_and(|values| values.len() == 1);
                assert!(schema.get("description").is_some() || is_tag, "{name}.{field}");
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

    /// Every schema in a value, with its place.
    fn walk<'a>(place: &str, value: &'a Value, visit: &mut impl FnMut(&str, &'a Map<String, Value>)) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(&format!("{place}/{index}"), item, visit);
                }
            }
            Value::Object(members) => {
                visit(place, members);
                for (name, member) in members {
                    // Its members are named by the contract: one may be called "default".
                    if let ("properties", Value::Object(fields)) = (name.as_str(), member) {
                        for (field, schema) in fields {
                            walk(&format!("{place}/properties/{field}"), schema, visit);
                        }
                    } else if !matches!(name.as_str(), "default" | "examples" | "enum" | "mapping") {
                        walk(&format!("{place}/{name}"), member, visit);
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn generators_can_read_every_schema() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let schemas = &document["components"]["schemas"];
        let mut wrong = vec![];
        walk("", schemas, &mut |place, schema| {
            let mut complain = |what: &str| wrong.push(format!("{place}: {what}"));
            if schema.contains_key("const") {
                complain("const");
            }
            if schema.contains_key("$ref") && schema.contains_key("properties") {
                complain("properties beside $ref");
            }
            if schema.get("default").is_some_and(Value::is_object) {
                complain("an object as default");
            }
            let alternatives = schema.get("oneOf").and_then(Value::as_array);
            let is_union = alternatives.is_some_and(|all| all.iter().all(|each| each.get("$ref").is_some()));
            if alternatives.is_some() && !(is_union && schema.contains_key("discriminator")) {
                complain("anonymous alternatives");
            }
            if schema.get("type").and_then(Value::as_str) == Some("null") && !place.contains("/anyOf/") {
                complain("nothing but null");
            }
        });
        assert_eq!(wrong, [""; 0]);
        assert_eq!(schemas["CreatePhoneCallInput"].get("anyOf"), None);
        let voices = schemas["VoiceInput"]["discriminator"]["mapping"].as_object().unwrap();
        assert_eq!(voices["rime"], "#/components/schemas/RimeVoiceInput");
        assert_eq!(document["info"]["license"]["identifier"], "Apache-2.0");
    }

    #[test]
    fn every_example_has_the_type_of_its_field() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let mut wrong = vec![];
        walk("", &document["components"]["schemas"], &mut |place, schema| {
            let Some(examples) = schema.get("examples").and_then(Value::as_array) else { return };
            let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
            let types: Vec<&str> = [schema.get("type")]
                .into_iter()
                .chain(alternatives.map(|alternative| alternative.get("type")))
                .flatten()
                .flat_map(|kind| kind.as_array().map_or_else(|| vec![kind], |kinds| kinds.iter().collect()))
                .filter_map(Value::as_str)
                .collect();
            for example in examples {
                let kind = match example {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fits = types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
                if !types.is_empty() && !fits {
                    wrong.push(format!("{place}: {example} is not {types:?}"));
                }
            }
        });
        assert_eq!(wrong, [""; 0]);
        let uri = |view: &str| &document["components"]["schemas"][view]["properties"]["uri"]["examples"][0];
        assert!(uri("ConversationView").as_str().unwrap().contains("/conversations/cnv_"));
        assert!(uri("AgentView").as_str().unwrap().contains("/agents/agt_"));
    }

    #[test]
    fn every_tag_and_operation_is_described_and_every_schema_is_used() {
        let document = document("https://api.example.com", EgressPolicy::PublicOnly);
        let tags: BTreeSet<_> = operations().iter().map(Operation::tag).collect();
        assert_eq!(tags, TAGS.iter().map(|(name, _)| *name).collect());
        for operation in operations() {
            assert!(operation.about.ends_with('.'), "{}", operation.id);
        }
        // From the paths on: schemas that only name each other are not used.
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let (mut used, mut texts) = (BTreeSet::new(), vec![document["paths"].to_string()]);
        while let Some(text) = texts.pop() {
            for (name, schema) in schemas {
                let reference = format!("\"#/components/schemas/{name}\"");
                if text.contains(&reference) && used.insert(name) {
                    texts.push(schema.to_string());
                }
            }
        }
        assert_eq!(used, schemas.keys().collect());
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
