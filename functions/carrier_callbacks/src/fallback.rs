//! The second chance of an inbound call whose first request failed.
//!
//! Without it, one failure of ours is "an application error has occurred" to the caller. The fallback tries the same once
//! more. If that fails too, the caller hears it ring on for some seconds before the next try, and at last the busy tone.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, Query, Request, State},
    response::Response,
};
use serde::Deserialize;
use switchboard_calls::number_urls;
use switchboard_model::ids::AccountId;
use switchboard_providers::carrier::{
    Carrier as _,
    documents::{Instructions, RejectReason},
};

use crate::{Callbacks, answer_inbound, respond::respond_with, verified::NumberCallback};

/// Time before each further try. The carrier has tried for some seconds already, and a caller gives up after half a minute.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// The number of pauses so far.
#[derive(Deserialize, Default)]
struct Tries {
    #[serde(default)]
    after: usize,
}

/// Answers an inbound call, or has it ring on. Never a 5xx: it is the last URL that the carrier asks.
pub(crate) async fn handle_fallback(State(callbacks): State<Arc<Callbacks>>, request: Request) -> Response {
    let Query(Tries { after }) = Query::try_from_uri(request.uri()).unwrap_or_default();
    let account = request.uri().path().split('/').nth(2).and_then(|id| id.parse().ok());
    tracing::warn!(after, "inbound call reached the fallback");
    let response = match NumberCallback::from_request(request, &callbacks).await {
        Ok(callback) => answer_inbound(&callbacks, callback).await,
        Err(response) => response,
    };
    match account {
        Some(account) if response.status().is_server_error() => callbacks.ring_on(account, after),
        _ => response,
    }
}

impl Callbacks {
    /// Without the table the request may be unverified. The response tells nothing but the address that was asked.
    fn ring_on(&self, account: AccountId, after: usize) -> Response {
        let carrier = &self.backend.carrier;
        let Some(time) = PAUSES.get(after).copied() else {
            tracing::error!("inbound call turned away: it could not be accepted");
            return respond_with(carrier.document(&Instructions::Reject(RejectReason::Busy)));
        };
        let url = format!("{}?after={}", number_urls(self.urls.public_url(), account).fallback, after + 1);
        respond_with(carrier.document(&Instructions::Pause { time, then: &url }))
    }
}
