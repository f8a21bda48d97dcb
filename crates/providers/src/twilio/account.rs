//! An authenticated account: where its REST resources are and how they are requested.

use std::time::Duration;

use http::Method;
use reqwest::{RequestBuilder, Url};
use switchboard_model::phone_numbers::CarrierAccount;

use super::refusals::PROVIDER;
use crate::{Providers, Secret, egress, endpoints::join};

/// One account and a client for it.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the carrier calls it the account SID")]
pub(super) struct Account {
    /// Opens a connection per request: an order must not be repeated unknowingly.
    http: reqwest::Client,
    base: Url,
    account_sid: Secret,
    auth_token: Secret,
    /// Replaces the time limit of every request.
    pub(super) timeout: Option<Duration>,
}

impl Account {
    pub(super) fn of_deployment(providers: &Providers) -> Self {
        Self {
            http: egress::single_use_client(),
            base: providers.endpoints.of(PROVIDER).clone(),
            account_sid: providers.keys.required("twilio_account_sid").clone(),
            auth_token: providers.keys.required("twilio_auth_token").clone(),
            timeout: None,
        }
    }

    pub(super) fn of_customer(&self, account: &CarrierAccount) -> Self {
        Self {
            account_sid: Secret::new(&account.account_sid),
            auth_token: account.auth_token.clone(),
            ..self.clone()
        }
    }

    /// Signs the account's callbacks.
    pub(super) fn auth_token(&self) -> &Secret {
        &self.auth_token
    }

    /// A request to a resource of the account, which may take as long as `limit`.
    pub(super) fn request(&self, method: Method, resource: &str, limit: Duration) -> RequestBuilder {
        let path = format!("/2010-04-01/Accounts/{}/{resource}", self.account_sid.reveal());
        self.http
            .request(method, join(&self.base, &path))
            .basic_auth(self.account_sid.reveal(), Some(self.auth_token.reveal()))
            .timeout(self.timeout.unwrap_or(limit))
    }
}

/// Whether `text` is an id with this prefix: two letters, then 32 letters or digits. Ids become part of a path, so
/// nothing else may pass.
pub(super) fn is_sid(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_of_its_kind_passes() {
        let sid = format!("CA{}", "0123456789abcdef".repeat(2));
        assert!(is_sid("CA", &sid));
        for wrong in
            ["", "CA", "CA1/../../x", &sid[1..], &format!("{sid}0"), &format!("PN{}", "0".repeat(32))]
        {
            assert!(!is_sid("CA", wrong), "{wrong}");
        }
    }
}
