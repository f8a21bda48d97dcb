//! Credentials: the body that stores one, and its view. The key itself is never shown.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use switchboard_model::{
    credentials::{Credential, Provider, is_api_version},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    secrets::Secret,
    time::Timestamp,
};

use crate::{
    agents::webhooks::bad_url,
    declaration::{FieldType, Record, Schemas, define},
    references::Checked,
    validation::{Field, Read, Rejected},
};

/// Maximum length of a key, a region, a user id and a URL.
const MAX_BYTES: usize = 512;

/// Visible ASCII characters, without spaces.
const VISIBLE: &str = r"^[\x21-\x7e]+$";

const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "OpenAI, or a server that speaks its protocol."),
    ("google", "Google Gemini."),
    ("deepgram", "Deepgram, as a transcriber and as a voice."),
    ("azure", "Azure Speech."),
    ("playht", "PlayHT."),
    ("elevenlabs", "ElevenLabs."),
    ("rimeai", "Rime."),
    ("rime", "Rime, by its other name."),
];

/// The body of `POST /credentials`.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateCredential {
    /// The provider that issued the key.
    pub provider: Provider,
    /// The key.
    pub api_key: Secret,
    /// The region of an Azure key.
    pub region: Option<String>,
    /// The user of a PlayHT key.
    pub user_id: Option<String>,
    /// The server that speaks OpenAI's protocol.
    pub base_url: Option<String>,
}

impl fmt::Debug for CreateCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateCredential").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Reads the body of `POST /credentials`.
#[must_use]
pub fn create(body: &Value, egress_policy: EgressPolicy) -> Checked<CreateCredential> {
    Checked::body(body, |field, _| record(egress_policy).read(field))
}

/// The schema of the body of `POST /credentials`.
pub fn create_schema(schemas: &mut Schemas) -> Value {
    schemas.input(&record(EgressPolicy::PublicOnly))
}

/// A member that means nothing to the provider is an error: the client would believe that it was stored.
fn record<'c>(egress_policy: EgressPolicy) -> Record<'c, CreateCredential> {
    let about = "A customer's own key of a provider.";
    Record::by_provider("CreateCredential", about, PROVIDERS, None, move |members| {
        let provider = members.provider();
        let api_key = members.required("api_key", api_key(), "The key; it is sealed, and never shown again.");
        let region = members.only_with(
            "azure",
            "region",
            region(),
            "The region of the key, such as `westeurope`.",
            "Only a credential of 'azure' has this",
        );
        let user_id = members.only_with(
            "playht",
            "user_id",
            visible().keywords(json!({ "minLength": 1, "pattern": VISIBLE })),
            "The user of the key.",
            "Only a credential of 'playht' has this",
        );
        let base_url = members.only_with(
            "openai",
            "base_url",
            base_url(egress_policy),
            "The address of the server; null: the vendor's own. Its host is checked before each connection.",
            "Only a credential of 'openai' has this",
        );
        let known = |name: &str| Provider::ALL.into_iter().find(|provider| provider.as_str() == name);
        Ok(CreateCredential {
            provider: provider.ok().and_then(known).ok_or(Rejected)?,
            api_key: api_key?,
            region: region?,
            user_id: user_id?,
            base_url: base_url?,
        })
    })
}

fn api_key<'c>() -> FieldType<'c, Secret> {
    FieldType::new(
        |field| read_visible(field).map(Secret::new),
        |generator, form| {
            define(generator, "ApiKey".to_owned(), |generator| {
                let keywords = json!({
                    "minLength": 1, "pattern": VISIBLE, "description": "Visible ASCII characters, without spaces.",
                });
                visible().keywords(keywords).schema(generator, form)
            })
        },
    )
}

/// Text that a header can carry.
fn visible<'c>() -> FieldType<'c, String> {
    FieldType::plain(read_visible, json!({ "type": "string", "maxLength": MAX_BYTES }))
}

fn read_visible(field: &Field<'_>) -> Read<String> {
    let text = field.non_empty_string()?;
    if text.len() > MAX_BYTES {
        return field.reject("string_too_long", format!("String should have at most {MAX_BYTES} characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return field.reject("value_error", "Should be visible ASCII characters without spaces");
    }
    Ok(text)
}

/// A region becomes part of a host name.
fn region<'c>() -> FieldType<'c, String> {
    FieldType::plain(
        |field| {
            let text = read_visible(field)?;
            if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                return Ok(text);
            }
            field.reject("value_error", "Should be a region's name, such as westeurope")
        },
        json!({ "type": "string", "minLength": 1, "maxLength": MAX_BYTES, "pattern": "^[a-z0-9]+$" }),
    )
}

fn base_url<'c>(egress_policy: EgressPolicy) -> FieldType<'c, String> {
    let read = move |field: &Field<'_>| {
        let text = read_visible(field)?;
        match egress_policy.url(&text) {
            Ok(url) if url.query().is_none_or(is_api_version) && url.fragment().is_none() => Ok(text),
            Ok(_) => field.reject("value_error", "URL should have no fragment, and no query but api-version"),
            Err(bad) => field.reject(bad_url(bad), bad.to_string()),
        }
    };
    let keywords = json!({ "format": "uri", "pattern": "^https?://" });
    FieldType::plain(read, json!({ "type": "string", "maxLength": MAX_BYTES })).keywords(keywords)
}

impl CreateCredential {
    /// The credential to store, without the key.
    #[must_use]
    pub fn credential(self, id: CredentialId, account_id: AccountId, now: Timestamp) -> Credential {
        let Self { provider, api_key, region, user_id, base_url } = self;
        Credential {
            id,
            account_id,
            provider,
            last4: last4(api_key.reveal()),
            region,
            user_id,
            base_url,
            created_at: now,
        }
    }
}

/// The last four characters; fewer of a short key, so that at most a third of it is shown.
fn last4(key: &str) -> String {
    let shown = (key.len() / 3).min(4);
    key[key.len() - shown..].to_owned()
}

/// A customer's own key of a provider. The key itself is never shown.
#[derive(Serialize, JsonSchema)]
pub struct CredentialView {
    /// Its id, such as `crd_01JD...`.
    pub id: CredentialId,
    /// The URL of this credential.
    pub uri: String,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The provider that issued the key.
    pub provider: Provider,
    /// The key's last four characters.
    pub last4: String,
    /// The time at which it was stored.
    pub created_at: Timestamp,
}

impl CredentialView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, credential: Credential) -> Self {
        let Credential { id, account_id, provider, last4, created_at, .. } = credential;
        Self { id, uri: format!("{public_url}/credentials/{id}"), account_id, provider, last4, created_at }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &Value) -> Result<CreateCredential, Vec<Value>> {
        let read = create(body, EgressPolicy::PublicOnly).into_valid();
        read.map_err(|errors| errors.iter().map(|error| json!([error.loc[1..], error.kind])).collect())
    }

    #[test]
    fn a_credential_shows_the_end_of_its_key_only() {
        let (id, account) =
            (CredentialId::new(Timestamp::from_millis(0), 1), AccountId::new(Timestamp::from_millis(0), 2));
        for (key, last4) in [("sk-0123456789abcdef", "cdef"), ("short", "t"), ("ab", "")] {
            let body = json!({ "provider": "openai", "api_key": key, "unknown": 1 });
            let read = parse(&body).unwrap();
            assert_eq!(read.api_key.reveal(), key);
            assert_eq!(format!("{read:?}"), "CreateCredential { provider: Openai, .. }");
            let credential = read.credential(id, account, Timestamp::from_millis(0));
            assert_eq!(credential.last4, last4);
            assert_eq!(
                format!("{credential:?}"),
                format!("Credential {{ id: {id:?}, provider: Openai, .. }}")
            );
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (body, errors) in [
            (json!({}), json!([[["provider"], "missing"], [["api_key"], "missing"]])),
            (
                json!({ "provider": "twilio", "api_key": "a b" }),
                json!([[["provider"], "enum"], [["api_key"], "value_error"]]),
            ),
            (json!({ "provider": "openai", "api_key": "" }), json!([[["api_key"], "string_too_short"]])),
            (
                json!({ "provider": "openai", "api_key": "k".repeat(513) }),
                json!([[["api_key"], "string_too_long"]]),
            ),
            (
                json!({ "provider": "deepgram", "api_key": "k", "base_url": "https://example.com" }),
                json!([[["base_url"], "value_error"]]),
            ),
            (
                json!({ "provider": "openai", "api_key": "k", "base_url": "https://10.0.0.1/v1" }),
                json!([[["base_url"], "value_error"]]),
            ),
            (
                json!({ "provider": "openai", "api_key": "k", "base_url": "http://example.com/v1" }),
                json!([[["base_url"], "url_scheme"]]),
            ),
            (
                json!({ "provider": "openai", "api_key": "k", "base_url": "https://example.com/v1?a=1" }),
                json!([[["base_url"], "value_error"]]),
            ),
            (
                json!({ "provider": "azure", "api_key": "k", "region": "west.example.com/" }),
                json!([[["region"], "value_error"]]),
            ),
        ] {
            assert_eq!(json!(parse(&body).unwrap_err()), errors, "{body}");
        }
    }

    #[test]
    fn each_provider_takes_its_own_members() {
        for body in [
            json!({ "provider": "azure", "api_key": "k", "region": "westeurope" }),
            json!({ "provider": "playht", "api_key": "k", "user_id": "u" }),
            json!({ "provider": "openai", "api_key": "k", "base_url": "https://models.example.com/v1" }),
            json!({ "provider": "rime", "api_key": "k", "region": null }),
        ] {
            assert!(parse(&body).is_ok(), "{body}");
        }
    }

    #[test]
    fn every_vendor_with_a_key_can_be_named() {
        let names: Vec<&str> = PROVIDERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, Provider::ALL.map(Provider::as_str));
    }

    #[test]
    fn a_key_of_rime_serves_both_of_its_names() {
        assert!(Provider::Rime.serves("rimeai") && Provider::Rimeai.serves("rime"));
        for provider in Provider::ALL {
            assert!(provider.serves(provider.as_str()));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
        assert!(!Provider::Openai.serves("deepgram"));
    }
}
