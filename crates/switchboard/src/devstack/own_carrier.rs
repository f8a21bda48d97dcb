//! A carrier of the user's, in the place of the sandbox's: finds the number to call from, and connects it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Limit for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The URLs of a number's callbacks.
pub(crate) struct Callbacks {
    pub(crate) inbound: String,
    pub(crate) fallback: String,
    pub(crate) status: String,
}

impl Callbacks {
    /// The callbacks below a URL.
    pub(crate) fn below(base: &str) -> Self {
        let [inbound, fallback, status] =
            ["inbound", "fallback", "status"].map(|name| format!("{base}/{name}"));
        Self { inbound, fallback, status }
    }
}

/// An account at a server that speaks Twilio's REST API.
pub(crate) struct OwnCarrier {
    http: reqwest::Client,
    numbers: String,
    sid: String,
    token: String,
}

impl OwnCarrier {
    /// # Errors
    ///
    /// An HTTP client cannot be created.
    pub(crate) fn new(url: &str, sid: &str, token: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?,
            numbers: format!("{url}/2010-04-01/Accounts/{sid}/IncomingPhoneNumbers"),
            sid: sid.to_owned(),
            token: token.to_owned(),
        })
    }

    /// Sets the callbacks of a number that the account owns. Returns the carrier's id of it.
    ///
    /// # Errors
    ///
    /// The account has no such number, or the carrier refuses.
    pub(crate) async fn connect_number(&self, number: &str, callbacks: &Callbacks) -> anyhow::Result<String> {
        let list = format!("{}.json", self.numbers);
        let list = self.send(self.http.get(list).query(&[("PhoneNumber", number)])).await?;
        let sid = list["incoming_phone_numbers"][0]["sid"].as_str();
        let sid = sid.with_context(|| {
            format!("your carrier's account does not own {number}; TWILIO_PHONE_NUMBER names the number to call from")
        })?;
        let form = [
            ("VoiceUrl", &*callbacks.inbound),
            ("VoiceMethod", "POST"),
            ("VoiceFallbackUrl", &*callbacks.fallback),
            ("VoiceFallbackMethod", "POST"),
            ("StatusCallback", &*callbacks.status),
        ];
        self.send(self.http.post(format!("{}/{sid}.json", self.numbers)).form(&form)).await?;
        Ok(sid.to_owned())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let request = request.basic_auth(&self.sid, Some(&self.token));
        let response = request.send().await.map_err(reqwest::Error::without_url);
        let response = response.context("your carrier (TWILIO_API_URL) did not respond")?;
        let status = response.status();
        if !status.is_success() {
            bail!("your carrier (TWILIO_API_URL) answered {status}");
        }
        response.json().await.context("your carrier's response is not JSON")
    }
}

#[cfg(test)]
mod tests {
    use switchboard_sandbox::{CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, Engines, Sandbox};

    use super::*;

    #[tokio::test]
    async fn a_number_of_the_account_is_connected_and_no_other() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::start(Engines::Offline("http://127.0.0.1:9".into())).await.unwrap();
        let url = &sandbox.vendors.iter().find(|vendor| vendor.name == "twilio").unwrap().url;
        let carrier = OwnCarrier::new(url, CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN).unwrap();
        let callbacks = Callbacks::below("http://127.0.0.1:1");
        let sid = carrier.connect_number(CUSTOMER_NUMBER, &callbacks).await.unwrap();
        let shown = carrier.send(carrier.http.get(format!("{}/{sid}.json", carrier.numbers))).await.unwrap();
        assert_eq!(shown["voice_url"], callbacks.inbound);
        assert_eq!(shown["voice_fallback_url"], callbacks.fallback);
        assert_eq!(shown["status_callback"], callbacks.status);
        let other = carrier.connect_number("+14155550199", &callbacks).await.unwrap_err();
        assert!(other.to_string().contains("TWILIO_PHONE_NUMBER"), "{other}");
        let stranger = OwnCarrier::new(url, CUSTOMER_ACCOUNT_SID, "wrong").unwrap();
        let refused = stranger.connect_number(CUSTOMER_NUMBER, &callbacks).await.unwrap_err();
        assert!(refused.to_string().contains("401"), "{refused}");
        sandbox.stop().await;
    }
}
