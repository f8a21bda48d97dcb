//! The service document, `GET /`: version, links and fallbacks of this deployment.

use serde::Serialize;
use serde_json::{Value, json};
use switchboard_model::catalogue::{self, Fallback};

use crate::declaration::Schemas;

/// The service document.
#[derive(Debug, Serialize)]
pub struct ServiceView {
    /// Always `switchboard`.
    name: &'static str,
    /// The version of this deployment.
    version: &'static str,
    /// The addresses of the API.
    links: Links,
    /// The providers and models that serve instead of others.
    substitutions: Vec<Fallback>,
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    openapi: String,
    account: String,
    agents: String,
    conversations: String,
    create_phone_call: String,
    create_web_call: String,
    phone_numbers: String,
    credentials: String,
}

impl ServiceView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str) -> Self {
        let link = |path: &str| format!("{public_url}{path}");
        Self {
            name: "switchboard",
            version: env!("CARGO_PKG_VERSION"),
            links: Links {
                this: link("/"),
                openapi: link("/openapi.json"),
                account: link("/account"),
                agents: link("/agents"),
                conversations: link("/conversations"),
                create_phone_call: link("/conversations/create_phone_call"),
                create_web_call: link("/conversations/create_web_call"),
                phone_numbers: link("/phone_numbers"),
                credentials: link("/credentials"),
            },
            substitutions: catalogue::fallbacks(),
        }
    }

    /// The schema of the document: clients are to read what they know of it.
    pub fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "object" })
    }
}
