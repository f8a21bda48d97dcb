//! The accounts at the carrier: the deployment's, and one that stands for a customer's own.

/// The number our account begins with; a call from one it does not own is refused (21210).
pub const OWNED_NUMBER: &str = "+14155550199";
/// The account that stands for a customer's own: its id and its password.
pub const CUSTOMER_ACCOUNT_SID: &str = "AC11111111111111111111111111111111";
/// See [`CUSTOMER_ACCOUNT_SID`].
pub const CUSTOMER_AUTH_TOKEN: &str = "sandbox-customer-token";
/// The number of that account.
pub const CUSTOMER_NUMBER: &str = "+14155550190";

/// An account at the carrier.
pub(crate) struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub(crate) sid: String,
    pub(crate) auth_token: String,
}
