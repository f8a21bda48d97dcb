//! What goes wrong around the calls, beside the kills: outages of table and bucket, and a hostile account.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use harness::{Gate, Passage, Stack};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Lots;
use crate::accounts::json_on;

/// Outages of the table and the bucket: time before each, its length, and what becomes of connections. The last one is
/// longer than a lease.
const OUTAGES: [(u64, u64, Passage); 4] =
    [(6, 5, Passage::Cut), (8, 12, Passage::Stalled), (8, 7, Passage::Stalled), (10, 63, Passage::Cut)];

/// Calls that the hostile account is given; it asks for more.
const HOSTILE_CALLS: usize = 12;
const HOSTILE_NUMBER: &str = "+14155550232";

/// Cuts off the table and the bucket, and opens the gate again.
pub(super) async fn cut_around(gate: &Gate) -> Duration {
    let mut lasted = Duration::ZERO;
    for (wait, length, passage) in OUTAGES {
        sleep(Duration::from_secs(wait)).await;
        gate.set(passage);
        sleep(Duration::from_secs(length)).await;
        gate.set(Passage::Open);
        lasted += Duration::from_secs(length);
    }
    lasted
}

/// An account that means harm.
pub(super) struct Hostile {
    token: String,
}

impl Hostile {
    /// Before anything is killed.
    pub(super) async fn new(stack: &Stack) -> Self {
        let account = json_on(stack, &["accounts", "create", "--name", "Hostile"]);
        let text = |field: &str| account[field].as_str().unwrap().to_owned();
        let (id, token) = (text("account_id"), text("token"));
        let body = json!({ "phone_number": HOSTILE_NUMBER });
        let bought = stack.send_as(&token, Method::POST, "/phone_numbers/buy", Some(body)).await.unwrap();
        assert_eq!(bought.status, StatusCode::OK, "{}", bought.body);
        let limits = ["--live-calls", "4", "--calls-per-second", "5", "--requests-per-second", "5"];
        json_on(stack, &[&["accounts", "limits", "--account", &id], &limits[..]].concat());
        Self { token }
    }

    /// Asks for calls, sends junk and forges callbacks until it is stopped. Returns the calls it was given.
    pub(super) async fn harass(&self, stack: &Stack, seed: u64, stop: &AtomicBool) -> Vec<String> {
        let (mut lots, mut calls) = (Lots(seed), vec![]);
        while !stop.load(Ordering::SeqCst) {
            let number = 1_000 + lots.draw(9_000);
            let create = json!({
                "from_number": HOSTILE_NUMBER, "to_number": format!("+1415557{number}"),
                "agent_config": { "max_duration_seconds": 4, "recording": false },
            });
            let path = "/conversations/create_phone_call";
            let junk = json!({ "from_number": [number], "agent_config": { "prompt": "x".repeat(50_000) } });
            let requests = [
                (Method::POST, path, Some(create).filter(|_| calls.len() < HOSTILE_CALLS)),
                (Method::POST, path, Some(junk)),
                (Method::GET, "/conversations?index=99&limit=100", None),
                (Method::GET, "/conversations/cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV", None),
            ];
            for (method, path, body) in requests {
                // Functions are killed: some requests get no response.
                let Ok(answer) = stack.send_as(&self.token, method, path, body).await else { continue };
                if answer.status == StatusCode::OK
                    && let Some(id) = answer.body["id"].as_str()
                {
                    calls.push(id.to_owned());
                }
            }
            self.forge(stack, &calls).await;
            sleep(Duration::from_millis(500)).await;
        }
        calls
    }

    /// Reports an end that the carrier did not sign.
    async fn forge(&self, stack: &Stack, calls: &[String]) {
        let Some(call) = calls.last() else { return };
        let path = format!("/twilio/{}/{call}/status", stack.address("account_id"));
        let forged: Value =
            json!({ "CallStatus": "completed", "CallSid": "CA00000000000000000000000000000001" });
        if let Ok(answer) = stack.send_as(&self.token, Method::POST, &path, Some(forged)).await {
            assert!(!answer.status.is_success(), "{}", answer.status);
        }
    }
}
