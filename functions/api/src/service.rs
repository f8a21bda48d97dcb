//! What this service is: the one answer that needs no token.

use axum::{Json, extract::State};
use serde::Serialize;
use switchboard_model::substitutions::{self, Substitution};

use crate::Api;

/// The service document.
#[derive(Serialize)]
pub(crate) struct Document {
    /// Always `switchboard`.
    name: &'static str,
    /// Of this deployment.
    version: &'static str,
    /// Where things are.
    links: Links,
    /// Who serves what was asked for but no longer answers.
    substitutions: &'static [Substitution],
}

/// Where things are.
#[derive(Serialize)]
struct Links {
    /// This document.
    #[serde(rename = "self")]
    this: String,
    /// The description of this API, for programs.
    openapi: String,
    /// The account's agents.
    agents: String,
    /// The account's conversations.
    conversations: String,
    /// Where an outbound call is asked for.
    create_phone_call: String,
    /// The account's phone numbers.
    phone_numbers: String,
    /// The account's own provider keys.
    credentials: String,
}

/// `GET /`
pub(crate) async fn document(State(api): State<Api>) -> Json<Document> {
    let url = &api.public_url;
    Json(Document {
        name: "switchboard",
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            this: format!("{url}/"),
            openapi: format!("{url}/openapi.json"),
            agents: format!("{url}/agents"),
            conversations: format!("{url}/conversations"),
            phone_numbers: format!("{url}/phone_numbers"),
            credentials: format!("{url}/credentials"),
            create_phone_call: format!("{url}/conversations/create_phone_call"),
        },
        substitutions: substitutions::TABLE,
    })
}
