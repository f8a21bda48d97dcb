//! The accounts at the carrier: the deployment's, and one that stands for a customer's own.

/// The sid of the deployment's account.
const DEPLOYMENT_ACCOUNT_SID: &str = "AC00000000000000000000000000000000";
/// The auth token of that account: the password of its REST requests, and the key of its signatures.
const DEPLOYMENT_AUTH_TOKEN: &str = "sandbox-twilio-token";
/// The keys of the deployment's account, by their names in a deployment's provider keys.
pub(crate) const KEYS: &[(&str, &str)] =
    &[("twilio_account_sid", DEPLOYMENT_ACCOUNT_SID), ("twilio_auth_token", DEPLOYMENT_AUTH_TOKEN)];
/// The number that the deployment's account owns at first. A call from a number that it does not own is refused (21210).
pub const OWNED_NUMBER: &str = "+14155550199";
/// The sid of the account that stands for a customer's own.
pub const CUSTOMER_ACCOUNT_SID: &str = "AC11111111111111111111111111111111";
/// The auth token of that account.
pub const CUSTOMER_AUTH_TOKEN: &str = "sandbox-customer-token";
/// The number that it owns.
pub const CUSTOMER_NUMBER: &str = "+14155550190";

pub(crate) struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub(crate) sid: String,
    pub(crate) auth_token: String,
}

impl Account {
    /// The deployment's.
    pub(crate) fn of_deployment() -> Self {
        Self { sid: DEPLOYMENT_ACCOUNT_SID.to_owned(), auth_token: DEPLOYMENT_AUTH_TOKEN.to_owned() }
    }
}
