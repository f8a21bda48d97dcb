//! A hostile account beside a well-behaved one, on everything that they share: sockets, live calls, webhooks, filters, the
//! answers of models, API requests, and keys of the table. The one is refused clearly, the other notices nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use harness::{Stack, own_machine};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_model::{time::Timestamp, webhooks::WebhookMethod};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    accounts::json_on,
    inbound_calls::ring,
    table::StackTable,
    webhooks::{
        receiver::{Got, Manner, Receiver},
        source::Source,
    },
};

/// How long both are at work.
const LASTS: Duration = Duration::from_secs(50);
/// Time for what has begun to come to its end.
const TAIL: Duration = Duration::from_secs(30);

/// The well-behaved account's calls: one every few seconds.
const CALLS: usize = 8;
const CALL_EVERY: Duration = Duration::from_secs(5);
const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready, and you can pick it up whenever you like.";
/// Maximum time from a request to the beginning of its conversation. The emulator runs all functions of both accounts on
/// this machine's cores, and takes most of it.
const CONNECTED: Duration = Duration::from_secs(20);
/// Maximum lateness of a frame.
const LATE_MS: u64 = 100;
/// Maximum p99 from an event to its arrival.
const DELIVERED: Duration = Duration::from_secs(5);
/// Events beside those of the calls.
const EVENT_EVERY: Duration = Duration::from_millis(500);

/// The hostile account's limits, as an operator sets them for a customer.
const LIMITS: [&str; 8] =
    ["--live-calls", "4", "--inbound-calls", "2", "--requests-per-second", "5", "--calls-per-second", "10"];
const LIVE: i64 = 4;
const INBOUND: i64 = 2;
const NUMBER: &str = "+14155550231";
/// Someone who never says anything.
const SILENT: &str = "+14155550155";

/// An account with its token and number.
struct Tenant {
    table: StackTable,
    token: String,
    number: String,
}

/// The statuses of an account's requests.
#[derive(Debug, Default)]
struct Statuses(BTreeMap<u16, usize>);

impl Statuses {
    fn count(&mut self, status: StatusCode) {
        *self.0.entry(status.as_u16()).or_default() += 1;
    }

    /// No fault of ours, whatever is asked.
    fn assert_clear(&self) {
        assert!(self.0.keys().all(|status| *status < 500), "{self:?}");
    }

    fn of(&self, status: u16) -> usize {
        self.0.get(&status).copied().unwrap_or(0)
    }
}

impl Tenant {
    fn well_behaved(stack: &Stack) -> Self {
        let text = |name: &str| stack.address(name).to_owned();
        Self { table: StackTable::of(stack), token: text("token"), number: text("from_number") }
    }

    /// An account with a number that it bought, and an agent that answers its calls.
    async fn hostile(stack: &Stack) -> Self {
        let account = json_on(stack, &["accounts", "create", "--name", "Hostile"]);
        let text = |field: &str| account[field].as_str().unwrap().to_owned();
        let (id, token) = (text("account_id"), text("token"));
        let table = StackTable { account: id.parse().unwrap(), ..StackTable::of(stack) };
        let hostile = Self { table, token, number: NUMBER.to_owned() };
        let body = json!({ "phone_number": NUMBER });
        assert_eq!(
            hostile.send(stack, Method::POST, "/phone_numbers/buy", Some(body)).await.0,
            StatusCode::OK
        );
        json_on(stack, &[&["accounts", "limits", "--account", &id], &LIMITS[..]].concat());
        hostile
    }

    async fn send(
        &self,
        stack: &Stack,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let answer = stack.send_as(&self.token, method, path, body).await.unwrap();
        (answer.status, answer.body)
    }

    async fn call(&self, stack: &Stack, to: &str, agent: &Value) -> (StatusCode, Value) {
        let body = json!({ "from_number": self.number, "to_number": to, "agent_config": agent });
        self.send(stack, Method::POST, "/conversations/create_phone_call", Some(body)).await
    }
}

/// The attacks of the hostile account. Each goes on until it is told to stop, and returns its observations.
struct Attack<'a> {
    stack: &'a Stack,
    tenant: &'a Tenant,
    agent: &'a Value,
    stop: &'a AtomicBool,
}

impl Attack<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Opens websockets that never start a call, as many as the pool of browsers holds, and renews those that are closed. A
    /// carrier's has to be signed.
    async fn sockets(&self) -> usize {
        let media = self.stack.address("media_url").strip_prefix("ws://").unwrap();
        let (host, path) = media.split_once('/').unwrap();
        let request = format!(
            "GET /{path}/web/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0/none HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let idle = async || {
            let mut closed = 0;
            while self.goes_on() {
                let mut socket = TcpStream::connect(host).await.unwrap();
                socket.write_all(request.as_bytes()).await.unwrap();
                let mut rest = vec![];
                // Closed by the worker, or the connection breaks with it.
                let ended = timeout(Duration::from_secs(12), socket.read_to_end(&mut rest)).await;
                assert!(ended.is_ok(), "a socket without a call stays open");
                closed += 1;
            }
            closed
        };
        join_all((0..64).map(|_| idle())).await.into_iter().sum()
    }

    /// Asks for far more calls than it may have.
    async fn outbound(&self) -> Statuses {
        let mut statuses = Statuses::default();
        while self.goes_on() {
            let asked = join_all((0..4).map(|_| self.tenant.call(self.stack, SILENT, self.agent))).await;
            for (status, _) in asked {
                statuses.count(status);
            }
            sleep(Duration::from_secs(5)).await;
        }
        statuses
    }

    /// Has its number called by many people at once.
    async fn inbound(&self) {
        let configuration = json!({ "inbound_agent_id": self.stored_agent().await });
        let path = crate::inbound_calls::path(NUMBER);
        loop {
            let changed =
                self.tenant.send(self.stack, Method::PATCH, &path, Some(configuration.clone())).await;
            if changed.0 == StatusCode::OK {
                break;
            }
            assert_eq!(changed.0, StatusCode::TOO_MANY_REQUESTS);
            sleep(Duration::from_secs(1)).await;
        }
        while self.goes_on() {
            join_all((0..3).map(|_| ring(self.stack, SILENT, NUMBER))).await;
            sleep(Duration::from_secs(4)).await;
        }
    }

    async fn stored_agent(&self) -> Value {
        loop {
            let (status, mut agent) =
                self.tenant.send(self.stack, Method::POST, "/agents", Some(self.agent.clone())).await;
            if status == StatusCode::OK {
                return agent["id"].take();
            }
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{agent}");
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Sends more requests than it may, and writes one item over and over.
    async fn requests(&self) -> Statuses {
        let agent = self.stored_agent().await;
        let path = format!("/agents/{}", agent.as_str().unwrap());
        let mut statuses = Statuses::default();
        while self.goes_on() {
            let change = |n: usize| {
                let body = json!({ "prompt": format!("Prompt {n}.") });
                self.tenant.send(self.stack, Method::PATCH, &path, Some(body))
            };
            for (status, _) in join_all((0..8).map(change)).await {
                statuses.count(status);
            }
            sleep(Duration::from_secs(1)).await;
        }
        statuses
    }

    /// Has a flood of events for hosts that never answer.
    async fn events(&self, hanging: &[String]) {
        let urls: Vec<_> = hanging.iter().map(|url| (url.as_str(), WebhookMethod::Post)).collect();
        let table = StackTable { account: self.tenant.table.account, ..StackTable::of(self.stack) };
        let mut source = Source::of(table, &urls).await;
        while self.goes_on() {
            source.emit(1).await;
            sleep(Duration::from_secs(2)).await;
        }
        source.end().await;
    }

    /// Reads the account's counters, which never exceed its limits.
    async fn watch(&self) -> (i64, i64) {
        let (mut live, mut inbound) = (0, 0);
        while self.goes_on() {
            let table = &self.tenant.table;
            let counters = table.table.counters(table.account).await.unwrap();
            (live, inbound) = (live.max(counters.live), inbound.max(counters.inbound));
            sleep(Duration::from_millis(500)).await;
        }
        (live, inbound)
    }
}

/// One call of the well-behaved account, from the request to its end.
async fn whole_call(stack: &Stack, tenant: &Tenant, number: usize, agent: &Value) {
    sleep(CALL_EVERY * u32::try_from(number).unwrap()).await;
    let to = format!("+1628555010{number}");
    let asked = Instant::now();
    let (status, body) = tenant.call(stack, &to, agent).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let id = body["id"].as_str().unwrap();
    let started = async |stack: &Stack| {
        Ok(Some(stack.conversation(id).await?).filter(|call| !call["started_at"].is_null()))
    };
    let left = CONNECTED.saturating_sub(asked.elapsed());
    stack.wait(left, "the call is not connected", started).await.unwrap();
    let ended = stack.ended_within(id, TAIL).await.unwrap();
    assert_eq!(ended["ended_reason"], "agent_ended", "{ended}");
    let first = &ended["messages"][0];
    assert_eq!((&first["content"], &first["interrupted"]), (&json!(GREETING), &json!(false)), "{ended}");
    let call = stack.settled_call(&to).await.unwrap();
    let media = &call["media"];
    assert_eq!(media["streams"], 1, "{call}");
    assert!(media["longest_gap_ms"].as_u64().unwrap() <= LATE_MS, "{call}");
}

/// Steady events of the well-behaved account. Returns their number.
async fn steady_events(stack: &Stack, url: &str, stop: &AtomicBool) -> usize {
    let mut source = Source::new(stack, &[(url, WebhookMethod::Post)]).await;
    let mut events = 1;
    while !stop.load(Ordering::SeqCst) {
        source.emit(1).await;
        events += 1;
        sleep(EVENT_EVERY).await;
    }
    source.end().await;
    events
}

fn latencies(got: &[Got]) -> Vec<Duration> {
    let latency = |got: &Got| {
        let happened: Timestamp = got.json()["created_at"].as_str().unwrap().parse().unwrap();
        got.at.since(happened)
    };
    let mut latencies: Vec<_> = got.iter().map(latency).collect();
    latencies.sort();
    latencies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_account_disturbs_no_other() {
    let _machine = own_machine().await;
    let stack = &Stack::start().unwrap();
    let (good, hostile) = (Tenant::well_behaved(stack), Tenant::hostile(stack).await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for number in 0..CALLS {
        let person = format!("{}/sandbox/people/+1628555010{number}", stack.address("twilio_api_url"));
        http.put(person).json(&json!({ "acts": [] })).send().await.unwrap().error_for_status().unwrap();
    }
    let healthy = Receiver::answering(200).await;
    let events = ["phone_call:accepted", "conversation:started", "message:sent", "conversation:ended"];
    let greeter = json!({
        "initial_message": GREETING, "max_duration_seconds": 9, "recording": false,
        "webhooks": [{ "events": events, "url": healthy.url, "method": "POST" }],
    });

    let hanging = Receiver::start_on("0.0.0.0:0", Manner::Hangs).await;
    let port = hanging.url.rsplit(':').next().unwrap().to_owned();
    let hosts: Vec<_> = (2..8).map(|host| format!("http://127.0.0.{host}:{port}")).collect();
    let babbler = Receiver::start(Manner::Babbles).await;
    let base_url = babbler.url.trim_end_matches("/hook");
    let credential =
        json!({ "provider": "openai", "api_key": "sk-of-the-hostile-one", "base_url": base_url });
    let (_, credential) = hostile.send(stack, Method::POST, "/credentials", Some(credential)).await;
    let costly = vec!["function.name == 'end_call'"; 30].join(" || ");
    let webhook = |url: &String| json!({ "events": ["message:sent", "conversation:ended"], "url": url, "method": "POST", "filter": costly });
    let agent = json!({
        "prompt": "Never stop.", "max_duration_seconds": 40,
        "language_model": { "provider": "openai", "model": "gpt-6-luna", "credential_id": credential["id"] },
        "webhooks": hosts.iter().map(webhook).collect::<Vec<_>>(),
    });
    let stop = AtomicBool::new(false);
    let attack = Attack { stack, tenant: &hostile, agent: &agent, stop: &stop };

    let begun = Instant::now();
    let calls = async {
        join_all((0..CALLS).map(|number| whole_call(stack, &good, number, &greeter))).await;
        sleep(LASTS.saturating_sub(begun.elapsed())).await;
        stop.store(true, Ordering::SeqCst);
    };
    let attacks = async {
        tokio::join!(
            attack.sockets(),
            attack.outbound(),
            attack.inbound(),
            attack.requests(),
            attack.events(&hosts),
            attack.watch(),
        )
    };
    let ((), steady, (closed, outbound, (), requests, (), (live, inbound))) =
        tokio::join!(calls, steady_events(stack, &healthy.url, &stop), attacks);

    let expected = steady + CALLS * events.len();
    let all = async |_: &Stack| Ok((healthy.got().len() >= expected).then_some(()));
    let arrived = stack.wait(TAIL, "events of the well-behaved account are missing", all).await;
    let got = healthy.got();
    let latencies = latencies(&got);
    let p99 = latencies[(latencies.len() - 1) * 99 / 100];
    let rung = stack.carrier_calls(NUMBER).await.unwrap();
    let busy = rung.iter().filter(|call| call["status"] == "busy").count();
    eprintln!(
        "{CALLS} calls and {} of {expected} events in {:?}, p99 {p99:?}; beside {closed} sockets, calls {outbound:?}, requests \
         {requests:?}, {live} and {inbound} live, {} inbound of which {busy} busy, the model asked {} times, the hosts {}",
        got.len(),
        begun.elapsed(),
        rung.len(),
        babbler.got().len(),
        hanging.got().len(),
    );
    arrived.unwrap();
    assert!(p99 < DELIVERED, "{p99:?}");
    for statuses in [&outbound, &requests] {
        statuses.assert_clear();
    }
    assert!(requests.of(429) > 0, "{requests:?}");
    assert!((1..=LIVE).contains(&live) && (1..=INBOUND).contains(&inbound), "{live} and {inbound}");
    assert!(busy > 0, "{rung:?}");
    assert!(closed > 0 && !hanging.got().is_empty());
}
