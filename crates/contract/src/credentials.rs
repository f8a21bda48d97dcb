//! The body of `POST /credentials`.

use std::fmt;

use switchboard_model::{
    credentials::{Credential, Provider},
    egress_policy::{BadUrl, EgressPolicy},
    ids::{AccountId, CredentialId},
    secrets::Secret,
    time::Timestamp,
};

use crate::validation::{Field, Object, Read};

/// The longest key or name that is taken.
const MAX_TEXT: usize = 512;

/// The body of `POST /credentials`.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateCredential {
    /// Of which provider the key is.
    pub provider: Provider,
    /// The key.
    pub api_key: Secret,
    /// Azure's region.
    pub region: Option<String>,
    /// `PlayHT`'s user.
    pub user_id: Option<String>,
    /// Where the server is that speaks `OpenAI`'s protocol.
    pub base_url: Option<String>,
}

impl fmt::Debug for CreateCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateCredential").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl CreateCredential {
    /// Reads the body.
    pub fn parse(body: &Field<'_>, egress_policy: EgressPolicy) -> Read<Self> {
        let object = body.object()?;
        let names = Provider::ALL.map(|provider| (provider.as_str(), provider));
        let provider = object.required("provider", |field| field.choice(&names));
        let api_key = object.required("api_key", visible).map(Secret::new);
        let region = only_with(&object, "region", provider, Provider::Azure, |field| {
            let text = visible(field)?;
            // It becomes part of a host name.
            if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                return Ok(text);
            }
            field.fail("value_error", "Should be a region's name, such as westeurope")
        });
        let user_id = only_with(&object, "user_id", provider, Provider::Playht, visible);
        let base_url = only_with(&object, "base_url", provider, Provider::Openai, |field| {
            base_url(field, egress_policy)
        });
        Ok(Self {
            provider: provider?,
            api_key: api_key?,
            region: region?,
            user_id: user_id?,
            base_url: base_url?,
        })
    }

    /// What is stored, but for the key.
    #[must_use]
    pub fn credential(self, id: CredentialId, account_id: AccountId, now: Timestamp) -> Credential {
        let Self { provider, api_key, region, user_id, base_url } = self;
        Credential {
            id,
            account_id,
            provider,
            last4: end(api_key.reveal()),
            region,
            user_id,
            base_url,
            created_at: now,
        }
    }
}

/// The last four characters; fewer of a short key, of which they would be more than a third.
fn end(key: &str) -> String {
    let shown = (key.len() / 3).min(4);
    key[key.len() - shown..].to_owned()
}

/// Text that a header can carry.
fn visible(field: &Field<'_>) -> Read<String> {
    let text = field.name()?;
    if text.len() > MAX_TEXT {
        return field.fail("string_too_long", format!("String should have at most {MAX_TEXT} characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return field.fail("value_error", "Should be visible ASCII characters without spaces");
    }
    Ok(text)
}

fn base_url(field: &Field<'_>, egress_policy: EgressPolicy) -> Read<String> {
    let text = visible(field)?;
    match egress_policy.url(&text) {
        Ok(url) if url.query().is_none() && url.fragment().is_none() => Ok(text),
        Ok(_) => field.fail("value_error", "URL should have neither a query nor a fragment"),
        Err(bad @ BadUrl::Scheme(_)) => field.fail("url_scheme", bad.to_string()),
        Err(bad @ BadUrl::Malformed) => field.fail("url_parsing", bad.to_string()),
        Err(bad @ (BadUrl::UserInfo | BadUrl::NotPublic)) => field.fail("value_error", bad.to_string()),
    }
}

/// A member that would do nothing for another provider: there it is refused, not dropped.
fn only_with<'a, T>(
    object: &Object<'a>,
    name: &str,
    provider: Read<Provider>,
    of: Provider,
    read: impl FnOnce(&Field<'a>) -> Read<T>,
) -> Read<Option<T>> {
    object.optional(name, |field| match provider {
        Ok(provider) if provider != of => {
            field.fail("value_error", format!("Only a credential of '{}' has this", of.as_str()))
        }
        _ => read(field),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::Checks;

    fn parse(body: &Value) -> Result<CreateCredential, Vec<Value>> {
        let checks = Checks::default();
        let read = CreateCredential::parse(&Field::body(body, &checks), EgressPolicy::PublicOnly).ok();
        read.ok_or_else(|| {
            checks.into_errors().into_iter().map(|error| json!([error.loc[1..], error.kind])).collect()
        })
    }

    #[test]
    fn a_credential_is_stored_with_the_end_of_its_key_only() {
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
    fn each_provider_may_have_what_it_needs() {
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
    fn a_key_of_rime_serves_both_its_names_and_any_other_only_its_own() {
        assert!(Provider::Rime.serves("rimeai") && Provider::Rimeai.serves("rime"));
        for provider in Provider::ALL {
            assert!(provider.serves(provider.as_str()));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
        assert!(!Provider::Openai.serves("deepgram"));
    }
}
