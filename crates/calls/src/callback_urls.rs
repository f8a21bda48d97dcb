//! The addresses that the carrier is given for callbacks and media streams. `functions/carrier_callbacks` serves the
//! paths.

use std::time::Duration;

use switchboard_model::{
    carriers::CarrierName,
    ids::{AccountId, ConversationId},
    phone_numbers::PhoneNumber,
};
use switchboard_providers::{
    AnyCarrier,
    carrier::{
        Carrier as _,
        documents::{CallDocument, ConnectStream, Instructions},
    },
};
use switchboard_runtime::config::CallbackConfig;

/// The bases of all addresses that the carrier is given.
#[derive(Debug, Clone)]
pub struct CallbackUrls {
    public_url: String,
    media_url: String,
}

/// The callbacks of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationUrls {
    /// The progress of the call.
    pub status: String,
    /// The result of answering machine detection.
    pub detection: String,
    /// The fate of a media stream.
    pub stream: String,
    /// Asked when a media stream has ended and the call has not.
    pub resume: String,
}

/// The callbacks of an account's phone numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberUrls {
    /// Asked when an inbound call arrives.
    pub inbound: String,
    /// Asked instead if that fails.
    pub fallback: String,
    /// The end of an inbound call.
    pub status: String,
}

impl CallbackUrls {
    /// `public_url` is the API's base URL, `media_url` the worker's websocket, both without a slash at the end.
    #[must_use]
    pub fn new(public_url: String, media_url: String) -> Self {
        Self { public_url, media_url }
    }

    /// The API's base URL, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The callbacks of one conversation.
    #[must_use]
    pub fn conversation(&self, account: AccountId, conversation: ConversationId) -> ConversationUrls {
        let path = CarrierName::default().callbacks_path(account);
        let url = |leaf| format!("{}{path}/{conversation}/{leaf}", self.public_url);
        ConversationUrls {
            status: url("status"),
            detection: url("amd"),
            stream: url("stream"),
            resume: url("resume"),
        }
    }

    /// The document that connects the call to a media stream. The worker admits the stream by its one-use `token`.
    #[must_use]
    pub fn connect_stream(
        &self,
        carrier: &AnyCarrier,
        account: AccountId,
        conversation: ConversationId,
        token: &str,
    ) -> CallDocument {
        self.connect_stream_after(Duration::ZERO, carrier, account, conversation, token)
    }

    /// The same after some silence.
    #[must_use]
    pub fn connect_stream_after(
        &self,
        after: Duration,
        carrier: &AnyCarrier,
        account: AccountId,
        conversation: ConversationId,
        token: &str,
    ) -> CallDocument {
        let urls = self.conversation(account, conversation);
        let media_url = media_url(&self.media_url, account, conversation);
        let (account, conversation) = (account.to_string(), conversation.to_string());
        carrier.document(&Instructions::Connect(ConnectStream {
            after,
            url: &media_url,
            parameters: &[("account_id", &account), ("conversation_id", &conversation), ("token", token)],
            status_callback: &urls.stream,
            then: &urls.resume,
        }))
    }
}

impl From<CallbackConfig> for CallbackUrls {
    fn from(config: CallbackConfig) -> Self {
        Self::new(config.public_url, config.media_url)
    }
}

/// The websocket of a conversation's media streams, below the worker's own. The ids are in its path, so that the worker finds
/// the token that the handshake is signed with: carriers drop a query.
#[must_use]
pub fn media_url(base: &str, account: AccountId, conversation: ConversationId) -> String {
    format!("{base}/{account}/{conversation}")
}

/// The callbacks of an account's phone numbers, below the API's base URL.
#[must_use]
pub fn number_urls(public_url: &str, account: AccountId) -> NumberUrls {
    NumberUrls {
        inbound: format!("{public_url}{}", PhoneNumber::voice_path(account)),
        fallback: format!("{public_url}{}/fallback", CarrierName::default().callbacks_path(account)),
        status: format!("{public_url}{}/status", CarrierName::default().callbacks_path(account)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use switchboard_model::{catalogue, time::Timestamp};
    use switchboard_providers::{Providers, egress, endpoints::Endpoints, keys::Keys};

    use super::*;

    fn ids() -> (AccountId, ConversationId) {
        let at = Timestamp::from_millis(1_795_339_800_120);
        (AccountId::new(at, 1), ConversationId::new(at, 2))
    }

    fn path(account: AccountId) -> String {
        CarrierName::default().callbacks_path(account)
    }

    #[test]
    fn callbacks_lie_below_the_account_and_the_conversation() {
        let (account, conversation) = ids();
        let urls = CallbackUrls::new("https://api.example.com".into(), "wss://media.example.com".into());
        let base = format!("https://api.example.com{}/{conversation}", path(account));
        let found = urls.conversation(account, conversation);
        assert_eq!(
            [found.status, found.detection, found.stream, found.resume],
            [
                format!("{base}/status"),
                format!("{base}/amd"),
                format!("{base}/stream"),
                format!("{base}/resume"),
            ]
        );
    }

    #[test]
    fn callbacks_of_numbers_lie_below_the_account() {
        let (account, _) = ids();
        let urls = number_urls("https://api.example.com", account);
        assert_eq!(urls.inbound, format!("https://api.example.com{}/inbound", path(account)));
        assert_eq!(urls.fallback, format!("https://api.example.com{}/fallback", path(account)));
        assert_eq!(urls.status, format!("https://api.example.com{}/status", path(account)));
    }

    #[test]
    fn a_stream_is_connected_with_its_ids_and_token() {
        let (account, conversation) = ids();
        let urls = CallbackUrls::new("https://api.example.com".into(), "wss://media.example.com".into());
        let keys = catalogue::connections().into_iter().flat_map(|connection| connection.keys);
        let keys = serde_json::json!(keys.map(|name| (*name, "x")).collect::<BTreeMap<_, _>>());
        let providers = Providers {
            http: egress::client(),
            endpoints: Endpoints::from_vars(&|_| None).unwrap(),
            keys: Keys::parse(&keys.to_string()).unwrap(),
        };
        let carrier = AnyCarrier::new(&providers);
        let document = urls.connect_stream(&carrier, account, conversation, "token-1").body;
        for part in ["wss://media.example.com", &account.to_string(), &conversation.to_string(), "token-1"] {
            assert!(document.contains(part), "{part} is missing in {document}");
        }
    }
}
