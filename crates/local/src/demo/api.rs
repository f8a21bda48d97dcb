//! The API as any client sees it, and the sandbox's account of what was truly said.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stack::Addresses;

/// Every request is answered within a second; a recording takes a little longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The API's longest page.
const PAGE: usize = 100;

/// Talks to one running system.
pub(super) struct Client {
    http: reqwest::Client,
    api_url: String,
    token: String,
    sandbox_url: String,
}

/// What the simulated person truly said, and what it understood of the agent.
#[derive(Debug, Deserialize)]
pub(super) struct SandboxCall {
    pub(super) to: String,
    /// Nothing more will be added.
    pub(super) settled: bool,
    pub(super) said: Vec<Words>,
    pub(super) heard: Vec<Words>,
    pub(super) media: Media,
}

/// What came over the call's media streams.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Media {
    /// Streams connected, one after the other.
    pub(super) streams: u64,
    /// Bytes of the agent's audio.
    pub(super) bytes_received: u64,
    /// How long nobody was heard around a change of streams, at most; 0 without any.
    pub(super) longest_silence_ms: u64,
}

/// One utterance.
#[derive(Debug, Deserialize)]
pub(super) struct Words {
    pub(super) text: String,
}

impl Client {
    pub(super) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?,
            api_url: addresses.api_url.clone(),
            token: addresses.token.clone(),
            sandbox_url: addresses.twilio_api_url.clone(),
        })
    }

    /// Asks for a call; the new conversation's id.
    pub(super) async fn create_phone_call(
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

    pub(super) async fn conversation(&self, id: &str) -> anyhow::Result<Value> {
        answer(self.get(&format!("/conversations/{id}"))).await
    }

    /// Events of a conversation but the first `seen`, oldest first; at most a page of them.
    pub(super) async fn events_after(&self, id: &str, seen: usize) -> anyhow::Result<Vec<Value>> {
        let index = seen / PAGE + 1;
        let page =
            answer(self.get(&format!("/conversations/{id}/events?index={index}&limit={PAGE}"))).await?;
        let items = page["items"].as_array().context("the page has no items")?;
        Ok(items.iter().skip(seen % PAGE).cloned().collect())
    }

    /// The recording; none while there is none.
    pub(super) async fn recording(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
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
    pub(super) async fn sandbox_call(&self, to: &str) -> anyhow::Result<SandboxCall> {
        let asked = Instant::now();
        loop {
            match self.calls_to(to).await?.pop().context("the sandbox knows of no such call")? {
                call if call.settled => return Ok(call),
                _ if asked.elapsed() > TIMEOUT => bail!("the person still listens after the call"),
                _ => tokio::time::sleep(super::LOOK).await,
            }
        }
    }

    /// The sandbox's calls to a number so far, oldest first.
    pub(super) async fn calls_to(&self, to: &str) -> anyhow::Result<Vec<SandboxCall>> {
        let mut calls = answer(self.http.get(format!("{}/sandbox/calls", self.sandbox_url))).await?;
        let mut calls: Vec<SandboxCall> = serde_json::from_value(calls["calls"].take())?;
        calls.retain(|call| call.to == to);
        Ok(calls)
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
