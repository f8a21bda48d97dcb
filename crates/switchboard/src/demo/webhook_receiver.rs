//! A webhook receiver on this machine. It knows only what any receiver knows: the signing secret and the requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use switchboard_model::{event_names::EventName, time::Timestamp};
use switchboard_runtime::now;
use tokio::{net::TcpListener, task::JoinSet};

/// Limit for the last deliveries: one that must be retried takes some seconds.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which the deliveries are counted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running receiver. Dropping it stops it.
pub(super) struct WebhookReceiver {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    secret: Webhook,
    /// The delay of the first verified delivery after its event, by `webhook-id`.
    told: Mutex<BTreeMap<String, Duration>>,
}

/// The deliveries of a call's events.
#[derive(Default)]
pub(super) struct DeliverySummary {
    /// Number of events with a delivery.
    expected: usize,
    /// The delays after the events, shortest first.
    latencies: Vec<Duration>,
}

impl WebhookReceiver {
    /// Starts a receiver that checks signatures with the account's secret.
    pub(super) async fn start(secret: &str) -> anyhow::Result<Self> {
        let secret = Webhook::new(secret).context("reading the account's signing secret")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("opening a port for webhooks")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let shared = Arc::new(Shared { secret, told: Mutex::default() });
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { url, shared, _serving: serving })
    }

    /// The webhook for the agent's configuration: all events but those that a call waits for, and the one per second.
    pub(super) fn webhook(&self) -> Value {
        let left_out = [EventName::Duration, EventName::FunctionCallTriggered];
        let events: Vec<_> = EventName::ALL.iter().filter(|event| !left_out.contains(event)).collect();
        json!({ "url": self.url, "method": "POST", "events": events })
    }

    /// Waits until all of these events were delivered, or the time is up.
    pub(super) async fn wait_for_deliveries(&self, events: &[Value]) -> DeliverySummary {
        let expected = events.iter().filter(|event| event["deliveries"] != json!([])).count();
        let asked = Instant::now();
        loop {
            let told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if told.len() >= expected || asked.elapsed() > TIME_LIMIT {
                let mut latencies: Vec<_> = told.into_values().collect();
                latencies.sort();
                return DeliverySummary { expected, latencies };
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if shared.secret.verify(&body, &headers).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let happened = event["created_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    if let (Some(happened), Some(id)) = (happened, id) {
        let mut told = shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry(id.to_owned()).or_insert_with(|| now().since(happened));
    }
    StatusCode::OK
}

impl DeliverySummary {
    /// The failed check, if deliveries are missing.
    pub(super) fn fault(&self) -> Option<String> {
        let missing = self.expected.saturating_sub(self.latencies.len());
        (missing > 0).then(|| format!("{missing} of {} webhooks did not arrive", self.expected))
    }

    /// The totals in one line.
    pub(super) fn line(&self) -> String {
        let (half, all) = (self.latency_ms(50), self.latency_ms(100));
        format!(
            "{} of {} arrived, signatures verified; half of them within {half} ms, all within {all} ms",
            self.latencies.len(),
            self.expected
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "expected": self.expected,
            "arrived": self.latencies.len(),
            "latency_ms": { "p50": self.latency_ms(50), "max": self.latency_ms(100) },
        })
    }

    fn latency_ms(&self, share: usize) -> u128 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * share / 100).map_or(0, Duration::as_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_signed_deliveries_count_and_each_event_counts_once() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let receiver = WebhookReceiver::start(secret).await.unwrap();
        assert_eq!(receiver.webhook()["events"].as_array().unwrap().len(), 9);
        let at = now().as_millis() / 1_000;
        let body = format!(r#"{{"created_at":"{}"}}"#, now());
        for (id, secret, expected) in [
            ("evt_1_0", secret, StatusCode::OK),
            ("evt_1_0", secret, StatusCode::OK),
            ("evt_2_0", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", StatusCode::UNAUTHORIZED),
        ] {
            let signature = switchboard_contract::signature::sign([secret], id, at, &body);
            let headers = [
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", signature),
            ];
            let headers = headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let shared = State(Arc::clone(&receiver.shared));
            assert_eq!(receive(shared, headers, body.clone().into()).await, expected);
        }
        let events = [json!({ "deliveries": [{}] }), json!({ "deliveries": [] })];
        let deliveries = receiver.wait_for_deliveries(&events).await;
        assert_eq!((deliveries.expected, deliveries.latencies.len()), (1, 1));
        assert_eq!(deliveries.fault(), None);
        let missing = DeliverySummary { expected: 3, ..deliveries };
        assert_eq!(missing.fault().as_deref(), Some("2 of 3 webhooks did not arrive"));
    }
}
