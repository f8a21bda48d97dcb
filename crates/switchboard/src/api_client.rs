//! A client of the public API, and of the sandbox's inspection endpoints, which report what was really said.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::devstack::addresses::Addresses;

/// Limit for one request, the download of a recording included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which awaited changes are polled.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A client of one running stack.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    api_url: String,
    token: String,
    sandbox_url: String,
}

/// The sandbox's record of a call.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SandboxCall {
    pub(crate) to: String,
    /// When the call was answered, in milliseconds since 1970; `None` if it was not.
    #[serde(default)]
    pub(crate) answered_at_ms: Option<i64>,
    /// When the call ended, in milliseconds since 1970; `None` while it has not.
    #[serde(default)]
    pub(crate) ended_at_ms: Option<i64>,
    /// `agent`, `caller` or `carrier`.
    #[serde(default)]
    pub(crate) ended_by: Option<String>,
    /// Whether the record is final.
    pub(crate) settled: bool,
    pub(crate) said: Vec<Utterance>,
    /// When the person hung up, in milliseconds since the call was answered.
    #[serde(default)]
    pub(crate) hung_up_ms: Option<u64>,
    pub(crate) heard: Vec<Utterance>,
    pub(crate) media: MediaStats,
}

/// Totals over the media streams of a call.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct MediaStats {
    /// Number of streams, one after the other.
    pub(crate) streams: u64,
    /// Bytes of the agent's audio.
    pub(crate) bytes_received: u64,
    /// The longest silence of both sides around a change of streams; 0 without a change.
    pub(crate) longest_silence_ms: u64,
}

/// Something that the person did, or heard of the agent.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Utterance {
    /// The beginning, in milliseconds since the call was answered.
    #[serde(default)]
    pub(crate) at_ms: u64,
    /// The end, in milliseconds since the call was answered.
    #[serde(default)]
    pub(crate) until_ms: u64,
    /// `say`, `sound` or `keys` for an act of the person; `None` for the agent's speech.
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
            sandbox_url: addresses.carrier_url()?.to_owned(),
        })
    }

    /// A client of an API without its sandbox: another machine's, or a deployed one.
    pub(crate) fn of_api(url: &str, token: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            api_url: url.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            sandbox_url: String::new(),
        })
    }

    /// The scenario of a conversation that has ended.
    pub(crate) async fn scenario(&self, id: &str) -> anyhow::Result<Value> {
        answer(self.get(&format!("/conversations/{id}/scenario"))).await
    }

    /// Creates a phone call; returns the id of the conversation.
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

    /// A conversation; `None` if the account has none with this id.
    pub(crate) async fn find_conversation(&self, id: &str) -> anyhow::Result<Option<Value>> {
        self.find(&format!("/conversations/{id}")).await
    }

    /// A phone number; `None` if the account does not have it.
    pub(crate) async fn find_number(&self, number: &str) -> anyhow::Result<Option<Value>> {
        self.find(&format!("/phone_numbers/{}", number.replace('+', "%2B"))).await
    }

    /// The numbers of the account; at most a page of them.
    pub(crate) async fn numbers(&self) -> anyhow::Result<Vec<Value>> {
        let mut page = answer(self.get("/phone_numbers")).await?;
        let items = if page.is_array() { page } else { page["items"].take() };
        Ok(serde_json::from_value(items)?)
    }

    /// Has a person of the sandbox ring a number. Returns the carrier's id of the call.
    pub(crate) async fn ring(&self, from: &str, to: &str) -> anyhow::Result<String> {
        let url = format!("{}/sandbox/calls", self.sandbox_url);
        let response = self.http.post(url).json(&json!({ "from": from, "to": to })).send().await;
        let response = response.context("the sandbox's carrier did not respond")?;
        let (status, body) = (response.status(), response.text().await?);
        if !status.is_success() {
            bail!("the sandbox's carrier refused the call: {body}");
        }
        let call: Value = serde_json::from_str(&body).context("the response is not JSON")?;
        Ok(call["sid"].as_str().context("the call has no id")?.to_owned())
    }

    /// The carrier's status of a call, such as `in-progress`.
    pub(crate) async fn carrier_status(&self, sid: &str) -> anyhow::Result<String> {
        let call = answer(self.http.get(format!("{}/sandbox/calls/{sid}", self.sandbox_url))).await?;
        Ok(call["status"].as_str().context("the call has no status")?.to_owned())
    }

    /// Events after the first `seen`, oldest first; at most a page of them. Events are numbered from 1 without gaps.
    pub(crate) async fn events_after(&self, id: &str, seen: usize) -> anyhow::Result<Vec<Value>> {
        let mut page = answer(self.get(&format!("/conversations/{id}/events?after={seen}"))).await?;
        let Value::Array(items) = page["items"].take() else { bail!("the page has no items") };
        Ok(items)
    }

    /// The recording; `None` while it does not exist.
    pub(crate) async fn recording(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let response = self.get(&format!("/conversations/{id}/recording")).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let link: Value = response.error_for_status()?.json().await?;
        let url = link["recording_url"].as_str().context("the response has no recording_url")?;
        Ok(Some(self.http.get(url).send().await?.error_for_status()?.bytes().await?.to_vec()))
    }

    /// The record of the last call to a number, once it is final: the person's last words are still being recognised
    /// when the call ends.
    pub(crate) async fn sandbox_call(&self, to: &str) -> anyhow::Result<SandboxCall> {
        let asked = Instant::now();
        loop {
            match self.calls_to(to).await?.pop().context("the sandbox has no call to this number")? {
                call if call.settled => return Ok(call),
                _ if asked.elapsed() > TIMEOUT => {
                    bail!("the sandbox still recognises words of the ended call")
                }
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// The records of all calls to a number, oldest first.
    pub(crate) async fn calls_to(&self, to: &str) -> anyhow::Result<Vec<SandboxCall>> {
        let mut calls = answer(self.http.get(format!("{}/sandbox/calls", self.sandbox_url))).await?;
        let mut calls: Vec<SandboxCall> = serde_json::from_value(calls["calls"].take())?;
        calls.retain(|call| call.to == to);
        Ok(calls)
    }

    /// Stores a provider's key; returns the id of the credential.
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

    /// Configures a key, or a person, of the sandbox at its own URL.
    pub(crate) async fn configure_sandbox(&self, url: &str, body: &Value) -> anyhow::Result<()> {
        let response = self.http.put(url).json(body).send().await.context("the sandbox did not respond")?;
        let status = response.status();
        if !status.is_success() {
            let said = response.text().await?;
            bail!("{}", if said.is_empty() { status.to_string() } else { said });
        }
        Ok(())
    }

    /// Removes that configuration.
    pub(crate) async fn reset_sandbox(&self, url: &str) -> anyhow::Result<()> {
        self.http.delete(url).send().await.context("the sandbox did not respond")?.error_for_status()?;
        Ok(())
    }

    /// The resource at a path; `None` if there is none.
    async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let response = self.get(path).send().await.context("the API did not respond")?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let (status, body) = (response.status(), response.text().await?);
        if !status.is_success() {
            bail!("the API answered {status}: {body}");
        }
        serde_json::from_str(&body).map(Some).context("the response is not JSON")
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.api_url)).bearer_auth(&self.token)
    }
}

/// Sends a request that must succeed; returns its JSON body.
async fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.context("the API did not respond")?;
    let (status, body) = (response.status(), response.text().await?);
    if !status.is_success() {
        bail!("the API answered {status}: {body}");
    }
    serde_json::from_str(&body).context("the response is not JSON")
}
