//! `GET /openapi.json` against the document of the last change, so that no change of it is an accident.
//!
//! A change that is meant: run the test, and copy the document that it names over `openapi.json`.

use serde_json::Value;
use switchboard_api::{Api, router};
use switchboard_aws::table::testing;
use switchboard_model::egress_policy::EgressPolicy;

use crate::world::{Event, api, send};

/// The document, as a local stack serves it.
const GOLDEN: &str = include_str!("openapi.json");

#[tokio::test]
async fn the_document_equals_the_golden_one_but_for_wording() {
    let api = Api {
        public_url: "http://127.0.0.1:8787".to_owned(),
        egress_policy: EgressPolicy::Local,
        ..api(testing::new_table().await, "http://127.0.0.1:1").await
    };
    let served = send(&router(api), Event::get("/openapi.json")).await;
    let differences =
        differences("", &wordless(served.json()), &wordless(serde_json::from_str(GOLDEN).unwrap()));
    if !differences.is_empty() {
        let served = format!("{:#}\n", served.json());
        std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi.json"), served).unwrap();
    }
    let golden =
        "the served document is in target/tmp/openapi.json, the golden one in tests/http/openapi.json";
    assert_eq!(differences, [""; 0], "{golden}");
}

/// The document without the texts that people read, and without the licence.
fn wordless(mut document: Value) -> Value {
    strip(&mut document, true);
    document["info"].as_object_mut().unwrap().remove("license");
    document
}

/// `is_schema`: the members are keywords, not names that the API chose, such as those of properties.
fn strip(value: &mut Value, is_schema: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, true)),
        Value::Object(members) => {
            if is_schema {
                for text in ["description", "summary", "title"] {
                    members.remove(text);
                }
            }
            for (name, member) in members {
                strip(
                    member,
                    !(is_schema && matches!(name.as_str(), "properties" | "schemas" | "responses")),
                );
            }
        }
        _ => {}
    }
}

/// Every place at which two documents differ, with what stands there.
fn differences(path: &str, served: &Value, golden: &Value) -> Vec<String> {
    match (served, golden) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            let member = |members: &serde_json::Map<String, Value>, name: &str| {
                members.get(name).cloned().unwrap_or(Value::String("(absent)".to_owned()))
            };
            names
                .into_iter()
                .flat_map(|name| {
                    differences(&format!("{path}/{name}"), &member(ours, name), &member(theirs, name))
                })
                .collect()
        }
        _ if served == golden => vec![],
        _ => vec![format!("{path}: {served}, was {golden}")],
    }
}
