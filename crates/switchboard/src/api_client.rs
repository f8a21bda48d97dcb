//! The API as any client sees it, and the sandbox's account of what was truly said.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::devstack::addresses::Addresses;

/// Every request is answered within a second; a recording takes a little longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The API's longest page.
const PAGE: usize = 100;
/// How often something that is awaited is looked at.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Talks to one running system.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    api_url: String,
    token: String,
    sandbox_url: String,
}

/// What the simulated person truly said, and what it understood of the agent.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SandboxCall {
    pub(crate) to: String,
    /// When it was answered, in milliseconds since 1970; none if it was not.
    #[serde(default)]
    pub(crate) answered_at_ms: Option<i64>,
    /// When it was over, likewise.
    #[serde(default)]
    pub(crate) ended_at_ms: Option<i64>,
    /// `agent`, `caller` or `carrier`.
    #[serde(default)]
    pub(crate) ended_by: Option<String>,
    /// Nothing more will be added.
    pub(crate) settled: bool,
    pub(crate) said: Vec<Utterance>,
    /// When they hung up, in milliseconds since the call was answered.
    #[serde(default)]
    pub(crate) hung_up_ms: Option<u64>,
    pub(crate) heard: Vec<Utterance>,
    pub(crate) media: MediaStats,
}

/// What came over the call's media streams.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct MediaStats {
    /// Streams connected, one after the other.
    pub(crate) streams: u64,
    /// Bytes of the agent's audio.
    pub(crate) bytes_received: u64,
    /// How long nobody was heard around a change of streams, at most; 0 without any.
    pub(crate) longest_silence_ms: u64,
}

/// One utterance.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Utterance {
    /// When it began, in milliseconds since the call was answered.
    #[serde(default)]
    pub(crate) at_ms: u64,
    /// When it ended, likewise.
    #[serde(default)]
    pub(crate) until_ms: u64,
    /// Of what was done: `say`, `sound` or `keys`; none of what was heard.
    #[serde(default)]
    pub(crate) what: Option<String>,
    pub(crate) text: String,
}

impl ApiClient {
    pub(crate) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?,
            api_url: addresses.api_url.clone(),
            token: addresses.token.clone(),
            sandbox_url: addresses.twilio_api_url.clone(),
        })
    }

    /// Asks for a call; the new conversation's id.
    pub(crate) async fn create_phone_call(
        &self,
        from: &str,
        to: &str,
        agent: &Value,
    ) -> anyhow::Result<String> {
        let body = json!({ "from_number": from, "to_number": to, "agent_config": agent });
        let url = format!("{}/conversations/create_phone_call", self.api_url);
        let conversation = answer(self.http.post(url).bearer_auth(&self.token).json(&body)).await?;
        Ok(conversation["id"].as_str().context("the conversation has no id")?.to_owned())
    }

    pub(crate) async fn conversation(&self, id: &str) -> anyhow::Result<Value> {
        answer(self.get(&format!("/conversations/{id}"))).await
    }

    /// Events of a conversation but the first `seen`, oldest first; at most a page of them.
    pub(crate) async fn events_after(&self, id: &str, seen: usize) -> anyhow::Result<Vec<Value>> {
        let index = seen / PAGE + 1;
        let page =
            answer(self.get(&format!("/conversations/{id}/events?index={index}&limit={PAGE}"))).await?;
        let items = page["items"].as_array().context("the page has no items")?;
        Ok(items.iter().skip(seen % PAGE).cloned().collect())
    }

    /// The recording; none while there is none.
    pub(crate) async fn recording(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let response = self.get(&format!("/conversations/{id}/recording")).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let link: Value = response.error_for_status()?.json().await?;
        let url = link["recording_url"].as_str().context("there is no link to the recording")?;
        Ok(Some(self.http.get(url).send().await?.error_for_status()?.bytes().await?.to_vec()))
    }

    /// The sandbox's side of its last call to a number. The person's last words are still being
    /// understood when the call ends.
    pub(crate) async fn sandbox_call(&self, to: &str) -> anyhow::Result<SandboxCall> {
        let asked = Instant::now();
        loop {
            match self.calls_to(to).await?.pop().context("the sandbox knows of no such call")? {
                call if call.settled => return Ok(call),
                _ if asked.elapsed() > TIMEOUT => bail!("the person still listens after the call"),
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// The sandbox's calls to a number so far, oldest first.
    pub(crate) async fn calls_to(&self, to: &str) -> anyhow::Result<Vec<SandboxCall>> {
        let mut calls = answer(self.http.get(format!("{}/sandbox/calls", self.sandbox_url))).await?;
        let mut calls: Vec<SandboxCall> = serde_json::from_value(calls["calls"].take())?;
        calls.retain(|call| call.to == to);
        Ok(calls)
    }

    /// Stores a provider's key; the credential's id.
    pub(crate) async fn create_credential(&self, provider: &str, key: &str) -> anyhow::Result<String> {
        let body = json!({ "provider": provider, "api_key": key });
        let url = format!("{}/credentials", self.api_url);
        let credential = answer(self.http.post(url).bearer_auth(&self.token).json(&body)).await?;
        Ok(credential["id"].as_str().context("the credential has no id")?.to_owned())
    }

    pub(crate) async fn delete_credential(&self, id: &str) -> anyhow::Result<()> {
        let url = format!("{}/credentials/{id}", self.api_url);
        answer(self.http.delete(url).bearer_auth(&self.token)).await.map(drop)
    }

    /// Asks for the end of a conversation.
    pub(crate) async fn end(&self, id: &str) -> anyhow::Result<()> {
        let url = format!("{}/conversations/{id}/end", self.api_url);
        answer(self.http.post(url).bearer_auth(&self.token)).await.map(drop)
    }

    /// Tells a server of the sandbox how to behave, at an address of its own.
    pub(crate) async fn set_sandbox_faults(&self, url: &str, behaviour: &Value) -> anyhow::Result<()> {
        let response =
            self.http.put(url).json(behaviour).send().await.context("the sandbox does not answer")?;
        let status = response.status();
        if !status.is_success() {
            let said = response.text().await?;
            bail!("{}", if said.is_empty() { status.to_string() } else { said });
        }
        Ok(())
    }

    /// Takes that back.
    pub(crate) async fn clear_sandbox_faults(&self, url: &str) -> anyhow::Result<()> {
        self.http.delete(url).send().await.context("the sandbox does not answer")?.error_for_status()?;
        Ok(())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.api_url)).bearer_auth(&self.token)
    }
}

/// Sends a request whose answer must be a success.
async fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.context("the API does not answer")?;
    let (status, body) = (response.status(), response.text().await?);
    if !status.is_success() {
        bail!("the API answered {status}: {body}");
    }
    serde_json::from_str(&body).context("the answer is not JSON")
}
