//! Two accounts with their table, bucket and carrier; events of the gateway and answers.

mod carrier;
mod conversations;
mod gateway;

use std::time::Duration;

use axum::{Router, body::to_bytes, http::HeaderMap};
use serde_json::Value;
use switchboard_api::{Api, router};
use switchboard_aws::{
    recordings::Recordings,
    sealing::{self, Sealer},
    table::{Table, testing},
};
use switchboard_model::{
    accounts::{Account, Token},
    costs::Prices,
    egress_policy::EgressPolicy,
    ids::{AccountId, AgentId, ConversationId, CredentialId, PhoneNumberId},
    phone_numbers::PhoneNumber,
    time::Timestamp,
};
use switchboard_testkit::bucket::{self, Objects};
use tower::ServiceExt;

pub(crate) use self::carrier::{
    AVAILABLE, Carrier, Fault, OWN_ACCOUNT, OWN_NUMBER, OWN_TOKEN, SharedCarrier,
};
pub(crate) use self::conversations::call_id;
pub(crate) use self::gateway::Event;

/// The token of [`World::account`], as in the sample events.
pub(crate) const TOKEN: &str = "sk_0123456789abcdefghijklmnopqrstuv";
/// The token of another account.
pub(crate) const FOREIGN_TOKEN: &str = "sk_vutsrqponmlkjihgfedcba9876543210";
/// The number of [`World::account`].
pub(crate) const NUMBER: &str = "+14155550199";
/// The number of the other account.
pub(crate) const FOREIGN_NUMBER: &str = "+14155550198";
/// The number to call.
pub(crate) const CALLED: &str = "+14155550100";
/// The conversation of the sample events.
pub(crate) const CONVERSATION: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";
/// The agent that [`World::put_agent`] stores.
pub(crate) const AGENT: &str = "agt_01JD9XQ4T0000000000000000A";

/// The credential that [`World::put_credential`] stores.
pub(crate) const CREDENTIAL: &str = "crd_01JD9XQ4T0000000000000000A";

/// How long conversations are kept.
pub(crate) const RETENTION_SECONDS: i64 = 90 * 24 * 60 * 60;

pub(crate) struct World {
    pub(crate) table: Table,
    pub(crate) sealer: Sealer,
    pub(crate) objects: Objects,
    pub(crate) shared_carrier: SharedCarrier,
    pub(crate) account: AccountId,
    router: Router,
}

/// The answer to an event.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let sealer = sealing::testing::sealer().await;
        let table = testing::new_table().await.sealing(sealer.clone());
        let account: AccountId = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F".parse().unwrap();
        for (random, id, token, number) in
            [(1, account, TOKEN, NUMBER), (2, other_account(), FOREIGN_TOKEN, FOREIGN_NUMBER)]
        {
            let name = "Corner bakery".to_owned();
            let mut account = Account::new(id, name, at(0), "whsec_AAAA".to_owned());
            // The clock stands still, so all requests count in one second.
            account.limits.requests_per_second = 1_000;
            let token = Token::from_authorization(&format!("Bearer {token}")).unwrap();
            table.create_account(&account, &token).await.unwrap();
            let number_id = PhoneNumberId::new(at(0), 100 + random);
            let number = PhoneNumber::coming(number_id, id, number.parse().unwrap(), None, at(0));
            table.add_phone_number(&number.arrived(format!("PN{random:032}"))).await.unwrap();
        }
        let (url, objects) = bucket::serve().await;
        let (carrier, shared_carrier) = carrier::serve().await;
        let carrier = carrier::client(&carrier);
        let api = Api { carrier, sealer: sealer.clone(), ..api(table.clone(), &url).await };
        let router = router(api);
        Self { table, sealer, objects, shared_carrier, account, router }
    }

    /// Serves the same API on a socket, with a real clock and random ids; returns its URL.
    pub(crate) async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (bucket, _) = bucket::serve().await;
        let (carrier, _) = carrier::serve().await;
        let carrier = carrier::client(&carrier);
        let sealer = self.sealer.clone();
        let api = Api {
            carrier,
            sealer,
            public_url: url.clone(),
            now: switchboard_runtime::now,
            random: switchboard_runtime::random_u128,
            ..api(self.table.clone(), &bucket).await
        };
        // The runtime of the test owns the server, and ends it.
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router(api)).await });
        url
    }

    pub(crate) fn carrier(&self) -> std::sync::MutexGuard<'_, Carrier> {
        self.shared_carrier.lock()
    }

    pub(crate) async fn send(&self, event: Event) -> Answer {
        send(&self.router, event).await
    }

    /// The headers and the bytes of an answer.
    pub(crate) async fn send_for_bytes(&self, event: Event) -> (HeaderMap, Vec<u8>) {
        let (_, headers, body) = pass(&self.router, event).await;
        (headers, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Event::get(path)).await
    }

    pub(crate) async fn create(&self, body: &Value) -> Answer {
        self.send(Event::create(&body.to_string())).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and body in one line.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.status, self.body)
    }
}

/// The API over a table and the bucket at `url`. Its clock stands still, and its random number is 1.
pub(crate) async fn api(table: Table, url: &str) -> Api {
    let carrier = carrier::client(url);
    Api {
        table,
        recordings: Recordings::new(&testing::config(url).await, bucket::NAME.to_owned()),
        sealer: sealing::testing::sealer().await,
        carrier,
        prices: Prices::default(),
        public_url: "https://api.example.com".to_owned(),
        media_url: Some("wss://media.example.com/media".to_owned()),
        egress_policy: EgressPolicy::PublicOnly,
        retention: Duration::from_secs(RETENTION_SECONDS.unsigned_abs()),
        now: || at(0),
        random: || 1,
    }
}

/// Passes an event to the function as the Lambda runtime does.
pub(crate) async fn send(router: &Router, event: Event) -> Answer {
    let (status, headers, body) = pass(router, event).await;
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

async fn pass(router: &Router, event: Event) -> (u16, HeaderMap, Vec<u8>) {
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, body.into())
}

/// The other account.
pub(crate) fn other_account() -> AccountId {
    "acc_01JD8Q2M7X4T6R9V1B3C5D7E9G".parse().unwrap()
}

/// Seconds after the time of the sample events.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_359_845_123 + seconds * 1_000)
}

pub(crate) fn conversation_id() -> ConversationId {
    CONVERSATION.parse().unwrap()
}

pub(crate) fn credential_id() -> CredentialId {
    CREDENTIAL.parse().unwrap()
}

pub(crate) fn agent_id() -> AgentId {
    AGENT.parse().unwrap()
}
