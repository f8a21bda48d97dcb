//! An authenticated account: where its REST resources are and how they are requested.

use std::time::Duration;

use http::Method;
use reqwest::{RequestBuilder, Url};
use switchboard_model::phone_numbers::CarrierAccount;

use super::refusals::PROVIDER;
use crate::{Providers, Secret, egress, endpoints::join, keys::Keys};

/// One account and a client for it.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// Opens a connection per request: an order must not be repeated unknowingly.
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    /// Replaces the time limit of every request.
    pub(super) timeout: Option<Duration>,
}

/// The credentials of an account.
#[derive(Debug, Clone)]
enum Credentials {
    /// Those of the deployment, which may be read again.
    Deployment(Keys),
    /// Those of a customer.
    Customer { account_sid: Secret, auth_token: Secret },
}

impl Credentials {
    fn account_sid(&self) -> Secret {
        match self {
            Self::Deployment(keys) => keys.required("twilio_account_sid"),
            Self::Customer { account_sid, .. } => account_sid.clone(),
        }
    }

    fn auth_token(&self) -> Secret {
        match self {
            Self::Deployment(keys) => keys.required("twilio_auth_token"),
            Self::Customer { auth_token, .. } => auth_token.clone(),
        }
    }
}

impl Account {
    pub(super) fn of_deployment(providers: &Providers) -> Self {
        Self {
            http: egress::single_use_client(),
            base: providers.endpoints.of(PROVIDER).clone(),
            credentials: Credentials::Deployment(providers.keys.clone()),
            timeout: None,
        }
    }

    pub(super) fn of_customer(&self, account: &CarrierAccount) -> Self {
        Self {
            credentials: Credentials::Customer {
                account_sid: Secret::new(&account.account_sid),
                auth_token: account.auth_token.clone(),
            },
            ..self.clone()
        }
    }

    /// Reads the deployment's credentials again. Returns whether they changed.
    pub(super) async fn reread(&self) -> bool {
        let Credentials::Deployment(keys) = &self.credentials else { return false };
        let read = || (self.credentials.account_sid(), self.credentials.auth_token());
        let before = read();
        keys.reread().await;
        let after = read();
        before.0.reveal() != after.0.reveal() || before.1.reveal() != after.1.reveal()
    }

    /// Signs the account's callbacks.
    pub(super) fn auth_token(&self) -> Secret {
        self.credentials.auth_token()
    }

    /// A request to a resource of the account, which may take as long as `limit`.
    pub(super) fn request(&self, method: Method, resource: &str, limit: Duration) -> RequestBuilder {
        let account_sid = self.credentials.account_sid();
        let path = format!("/2010-04-01/Accounts/{}/{resource}", account_sid.reveal());
        self.http
            .request(method, join(&self.base, &path))
            .basic_auth(account_sid.reveal(), Some(self.credentials.auth_token().reveal()))
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
