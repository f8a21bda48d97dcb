//! The table of a load test. It stands between the worker and the emulator, which is slower than the worker: it keeps what
//! the worker writes all the time, packs of events and checkpoints of leases, and passes everything else on. It counts the
//! units that the worker's requests cost.
//!
//! Other processes read the emulator: it has the state of each call and its lease as it is due. The worker alone sees the
//! events that are kept here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use switchboard_aws::capacity::{Tally, WireItem, item_size, text};
use tokio::{net::TcpListener, task::JoinSet};

/// The time limit of the worker's own requests.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Prefix of the sort keys of packs of events.
const PACK: &str = "EVT#";
const LEASE: &str = "LEASE";
/// Bytes of a read unit.
const READ_UNIT: usize = 4_096;

/// A running table. Dropping it stops it.
pub(crate) struct FastTable {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    _server: JoinSet<()>,
}

/// The units of the worker's requests. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<Counted>>);

/// The units of some requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    /// The writes.
    pub(crate) writes: Tally,
    /// Read units.
    pub(crate) read_units: u64,
}

impl Counts {
    /// Returns what was counted since the last time.
    pub(crate) fn take(&self) -> Counted {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Sums stay right if a thread panics between two of them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The items that are known here: those that are kept, and the last ones that were passed on.
#[derive(Default)]
struct Items {
    packs: HashMap<String, BTreeMap<String, WireItem>>,
    passed_on: HashMap<(String, String), WireItem>,
}

#[derive(Clone)]
struct Server {
    client: reqwest::Client,
    emulator: String,
    items: Arc<Mutex<Items>>,
    counts: Counts,
}

impl FastTable {
    /// Starts it in front of the emulator at this URL. It counts into `counts`.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub(crate) async fn start(emulator: &str, counts: Counts) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("opening a port for the table")?;
        let url = format!("http://{}", listener.local_addr()?);
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let server = Server { client, emulator: emulator.to_owned(), items: Arc::default(), counts };
        let router = Router::new().fallback(answer).with_state(server);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "table of the load test ended");
            }
        });
        Ok(Self { url, _server: serving })
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some((status, answer)) = server.keep(operation, &request) {
        return json_response(status, answer.to_string().into());
    }
    match server.pass_on(&headers, body).await {
        Ok((status, body)) => {
            let body = if status == StatusCode::OK { server.passed(operation, &request, body) } else { body };
            json_response(status, body)
        }
        Err(error) => {
            tracing::warn!(%error, "emulator not reached");
            json_response(StatusCode::INTERNAL_SERVER_ERROR, r#"{"__type":"InternalServerError"}"#.into())
        }
    }
}

fn json_response(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response()
}

impl Server {
    /// Executes a write that is kept here. None for any other request.
    fn keep(&self, operation: &str, request: &Value) -> Option<(StatusCode, Value)> {
        match operation {
            "PutItem" => {
                let item = request["Item"].as_object()?;
                let (pk, sk) = (text(item, "pk")?, text(item, "sk").filter(|sk| sk.starts_with(PACK))?);
                let mut items = self.items();
                let packs = items.packs.entry(pk.to_owned()).or_default();
                if let Some(there) = packs.get(sk) {
                    let error = json!({
                        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
                        "message": "The conditional request failed",
                        "Item": there,
                    });
                    return Some((StatusCode::BAD_REQUEST, error));
                }
                packs.insert(sk.to_owned(), item.clone());
                self.counts.lock().writes.add(item, None, Some(item), false);
                Some((StatusCode::OK, json!({})))
            }
            "UpdateItem" => {
                let key = request["Key"].as_object()?;
                let (pk, sk) = (text(key, "pk")?, text(key, "sk").filter(|sk| *sk == LEASE)?);
                let values = &request["ExpressionAttributeValues"];
                let utterance = values.get(":utterance")?;
                let mut items = self.items();
                let lease = items.passed_on.get_mut(&(pk.to_owned(), sk.to_owned()))?;
                let before = lease.clone();
                lease.insert("utterance".to_owned(), utterance.clone());
                self.counts.lock().writes.add(key, Some(&before), Some(lease), false);
                Some((StatusCode::OK, json!({})))
            }
            _ => None,
        }
    }

    async fn pass_on(&self, headers: &HeaderMap, body: Bytes) -> reqwest::Result<(StatusCode, Bytes)> {
        let mut request = self.client.post(&self.emulator).body(body);
        for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let response = request.send().await?;
        Ok((response.status(), response.bytes().await?))
    }

    /// Counts a request that the emulator has executed, and adds to its response what is kept here.
    fn passed(&self, operation: &str, request: &Value, body: Bytes) -> Bytes {
        match operation {
            "TransactWriteItems" => {
                for write in request["TransactItems"].as_array().into_iter().flatten() {
                    let write = write.as_object().and_then(|write| write.iter().next());
                    if let Some((kind, write)) = write {
                        self.count_write(kind, write, true);
                    }
                }
            }
            "PutItem" | "UpdateItem" | "DeleteItem" => {
                self.count_write(operation.trim_end_matches("Item"), request, false);
            }
            "Query" => return self.query(request, &body),
            "GetItem" | "BatchGetItem" => {
                let response: Value = serde_json::from_slice(&body).unwrap_or_default();
                let batches =
                    response["Responses"].as_object().into_iter().flat_map(|tables| tables.values());
                let items = batches.filter_map(Value::as_array).flatten().chain(response.get("Item"));
                let units =
                    items.filter_map(Value::as_object).map(|item| item_size(item).div_ceil(READ_UNIT).max(1));
                self.count_read(units.sum::<usize>().max(1));
            }
            _ => {}
        }
        body
    }

    fn count_write(&self, kind: &str, write: &Value, in_transaction: bool) {
        let Some(key) = write.get("Item").or(write.get("Key")).and_then(Value::as_object) else { return };
        let (Some(pk), Some(sk)) = (text(key, "pk"), text(key, "sk")) else { return };
        let place = (pk.to_owned(), sk.to_owned());
        let mut items = self.items();
        let before = items.passed_on.get(&place).cloned();
        let after = match kind {
            "Put" => {
                items.passed_on.insert(place, key.clone());
                Some(key)
            }
            "Delete" => {
                items.passed_on.remove(&place);
                None
            }
            // As large as it was, as far as that is known.
            _ => before.as_ref(),
        };
        self.counts.lock().writes.add(key, before.as_ref(), after, in_transaction);
    }

    fn count_read(&self, units: usize) {
        self.counts.lock().read_units += u64::try_from(units).unwrap_or(u64::MAX);
    }

    /// Adds the packs that are kept to the result of a query for packs.
    fn query(&self, request: &Value, body: &Bytes) -> Bytes {
        let mut response: Value = serde_json::from_slice(body).unwrap_or_default();
        let value = |name: &str| request["ExpressionAttributeValues"][name]["S"].as_str();
        let mut found: Vec<WireItem> = response["Items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_object().cloned())
            .collect();
        if let (Some(pk), Some(from), Some(to)) = (value(":pk"), value(":from"), value(":to")) {
            let items = self.items();
            let kept = items
                .packs
                .get(pk)
                .into_iter()
                .flat_map(|packs| packs.range(from.to_owned()..=to.to_owned()));
            found.extend(kept.map(|(_, item)| item.clone()));
            found.sort_by(|a, b| text(a, "sk").cmp(&text(b, "sk")));
            if request["ScanIndexForward"] == json!(false) {
                found.reverse();
            }
            let limit = request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
            found.truncate(limit.unwrap_or(usize::MAX));
        }
        self.count_read(found.iter().map(item_size).sum::<usize>().div_ceil(READ_UNIT).max(1));
        response["Count"] = json!(found.len());
        response["Items"] = json!(found);
        response.to_string().into()
    }

    fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Server { client, emulator: String::new(), items: Arc::default(), counts: Counts::default() }
    }

    fn pack(sk: &str) -> Value {
        json!({ "Item": { "pk": { "S": "a#c" }, "sk": { "S": sk }, "events": { "S": "x".repeat(1_500) } } })
    }

    #[test]
    fn packs_are_kept_once_and_found_in_their_order() {
        let server = server();
        for sk in ["EVT#000001", "EVT#000002"] {
            assert_eq!(server.keep("PutItem", &pack(sk)).unwrap().0, StatusCode::OK);
        }
        let (status, again) = server.keep("PutItem", &pack("EVT#000001")).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(again["Item"], pack("EVT#000001")["Item"]);
        assert!(
            server
                .keep("PutItem", &json!({ "Item": { "pk": { "S": "a" }, "sk": { "S": "STATE" } } }))
                .is_none()
        );
        let query = json!({
            "ExpressionAttributeValues": { ":pk": { "S": "a#c" }, ":from": { "S": "EVT#" }, ":to": { "S": "EVT#~" } },
            "ScanIndexForward": false,
            "Limit": 1,
        });
        let there = json!({ "Items": [{ "pk": { "S": "a#c" }, "sk": { "S": "EVT#000000" } }] });
        let found: Value = serde_json::from_slice(&server.query(&query, &there.to_string().into())).unwrap();
        assert_eq!((&found["Items"][0]["sk"]["S"], &found["Count"]), (&json!("EVT#000002"), &json!(1)));
        let counted = server.counts.take();
        assert_eq!((counted.writes.units(), counted.read_units), (4, 1));
        assert_eq!(server.counts.take().writes.units(), 0);
    }

    #[test]
    fn checkpoints_of_a_lease_that_was_passed_on_are_kept() {
        let server = server();
        let key = json!({ "pk": { "S": "a#c" }, "sk": { "S": "LEASE" } });
        let checkpoint =
            json!({ "Key": key, "ExpressionAttributeValues": { ":utterance": { "NULL": true } } });
        assert!(server.keep("UpdateItem", &checkpoint).is_none(), "it is not known here");
        let put = json!({ "TransactItems": [{ "Put": { "Item": key } }] });
        let _ = server.passed("TransactWriteItems", &put, Bytes::new());
        assert_eq!(server.keep("UpdateItem", &checkpoint).unwrap().0, StatusCode::OK);
        assert_eq!(server.counts.take().writes.units(), 3);
    }
}
