//! The accounts at the carrier: the deployment's, and one that stands for a customer's own.

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
