//! What this service is: the one answer that needs no token.

use axum::{Json, extract::State};
use domain::substitutions::{self, Substitution};
use serde::Serialize;

use crate::Api;

/// The service document.
#[derive(Serialize)]
pub(crate) struct Document {
    name: &'static str,
    version: &'static str,
    links: Links,
    /// Who serves what was asked for but no longer answers.
    substitutions: &'static [Substitution],
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    create_phone_call: String,
}

/// `GET /`
pub(crate) async fn document(State(api): State<Api>) -> Json<Document> {
    let url = &api.public_url;
    Json(Document {
        name: "switchboard",
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            this: format!("{url}/"),
            create_phone_call: format!("{url}/conversations/create_phone_call"),
        },
        substitutions: substitutions::TABLE,
    })
}
