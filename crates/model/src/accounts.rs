//! Accounts, the tokens that open them, and the secrets that sign their webhooks.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ids::AccountId, time::Timestamp};

/// Time for which a replaced signing secret still signs, so that every receiver can learn the new one.
pub const ROTATION: Duration = Duration::from_hours(24);

/// One customer of this deployment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The name for people.
    pub name: String,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// Signs its webhooks (Standard Webhooks: `whsec_` and 32 random bytes in base64).
    pub signing_secret: String,
    /// The secret before that, which signs too for as long as [`ROTATION`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_signing_secret: Option<PreviousSecret>,
    /// Its limits.
    #[serde(default)]
    pub limits: Limits,
}

/// A signing secret that was replaced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// As [`Account::signing_secret`].
    pub secret: String,
    /// The first time at which it no longer signs.
    pub until: Timestamp,
}

/// Limits of one account, so that it leaves capacity for the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Concurrent outbound calls. A call over the limit waits as `queued`.
    pub live_calls: u32,
    /// Concurrent inbound and web calls. They have a share of their own, which outbound calls cannot take. A call over the
    /// limit is rejected as busy.
    pub inbound_calls: u32,
    /// Calls started per second. A call over the limit waits as `queued`.
    pub calls_per_second: u32,
    /// API requests per second on average. Bursts may have twice as many.
    pub requests_per_second: u32,
    /// Calling codes (`+44`) of the countries it may call; none: those of the numbers that it bought.
    pub destination_countries: Option<Vec<String>>,
    /// Whether it may call premium-rate and satellite numbers, and those that fraud is after
    /// ([`E164::is_restricted`](crate::phone_numbers::E164::is_restricted)), of these countries.
    pub restricted_numbers: bool,
    /// Phone numbers that it may have.
    pub phone_numbers: u32,
    /// USD that its conversations may cost in a day (UTC). Above it, no more calls start.
    pub daily_spend_usd: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            live_calls: 10,
            inbound_calls: 10,
            calls_per_second: 1,
            requests_per_second: 20,
            destination_countries: None,
            restricted_numbers: false,
            phone_numbers: 50,
            daily_spend_usd: 100,
        }
    }
}

impl Account {
    /// A new account with the default limits.
    #[must_use]
    pub fn new(id: AccountId, name: String, created_at: Timestamp, signing_secret: String) -> Self {
        Self {
            id,
            name,
            created_at,
            signing_secret,
            previous_signing_secret: None,
            limits: Limits::default(),
        }
    }

    /// The secrets that sign a webhook sent at `now`: the current one, then the replaced one while it still signs.
    pub fn signing_secrets(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let previous = self.previous_signing_secret.iter().filter(move |previous| now < previous.until);
        std::iter::once(&*self.signing_secret).chain(previous.map(|previous| &*previous.secret))
    }

    /// Replaces the signing secret. The old one signs too for [`ROTATION`]. After several rotations within that time
    /// only the last two secrets sign.
    #[must_use]
    pub fn rotate(self, new_secret: String, now: Timestamp) -> Self {
        let previous = PreviousSecret { secret: self.signing_secret, until: now.after(ROTATION) };
        Self { signing_secret: new_secret, previous_signing_secret: Some(previous), ..self }
    }
}

/// A signing secret from 32 random bytes, as Standard Webhooks writes it.
#[must_use]
pub fn signing_secret(random: [u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(random))
}

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAccount {
    /// Its id.
    pub id: AccountId,
    /// The name for people.
    pub name: String,
    /// The time of its creation.
    pub created_at: Timestamp,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for PreviousSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreviousSecret").field("until", &self.until).finish_non_exhaustive()
    }
}

/// A token in a list: enough to recognize and revoke it, not to use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// SHA-256 of the token, as 64 hexadecimal digits.
    pub sha256: String,
    /// The name for people.
    pub name: String,
    /// Its last four characters.
    pub last4: String,
    /// The time of its creation.
    pub created_at: Timestamp,
}

/// A bearer token: `sk_` and 32 characters. Its owner sees it once, at its creation; the table has its hash only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new token from 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let letters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        Self("sk_".chars().chain(letters).collect())
    }

    /// Reads the value of an `Authorization` header; none if it is not a well-formed bearer token.
    #[must_use]
    pub fn from_authorization(header: &str) -> Option<Self> {
        let (scheme, token) = header.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") { Self::parse(token) } else { None }
    }

    /// Reads a token; none if it is not well-formed.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        let letters = token.strip_prefix("sk_")?;
        let valid = letters.len() == 32 && letters.bytes().all(|byte| byte.is_ascii_alphanumeric());
        valid.then(|| Self(token.to_owned()))
    }

    /// SHA-256 of the token, in hexadecimal. The table has this instead of the token.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(&self.0)
    }

    /// The entry for the list of tokens.
    #[must_use]
    pub fn issued(&self, name: String, created_at: Timestamp) -> IssuedToken {
        // Both constructors yield ASCII of a fixed length.
        let last4 = self.0[self.0.len() - 4..].to_owned();
        IssuedToken { sha256: self.sha256(), name, last4, created_at }
    }

    /// The token itself, for the one time that its owner sees it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// SHA-256 of a secret, as 64 hexadecimal digits.
#[must_use]
pub fn sha256_hex(secret: impl AsRef<[u8]>) -> String {
    use fmt::Write as _;
    Sha256::digest(secret).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_read_in_any_case_and_a_token_is_never_printed() {
        let token = Token::new([7; 32]);
        assert_eq!(Token::from_authorization(&format!("bearer {}", token.reveal())), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "Token([redacted])");
        assert_eq!(token.sha256().len(), 64);
    }

    #[test]
    fn malformed_authorization_is_no_token() {
        let good = Token::new([1; 32]).reveal().to_owned();
        for bad in [
            "",
            "Bearer",
            "Bearer sk_",
            &good,
            &format!("Basic {good}"),
            &format!("Bearer {good}0"),
            &format!("Bearer  {good}"),
        ] {
            assert_eq!(Token::from_authorization(bad), None, "{bad}");
        }
    }

    fn account() -> Account {
        let id = AccountId::new(at(0), 1);
        Account::new(id, "Bakery".into(), at(0), signing_secret([1; 32]))
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn secrets(account: &Account, now: Timestamp) -> Vec<&str> {
        account.signing_secrets(now).collect()
    }

    #[test]
    fn a_replaced_secret_signs_for_a_day_after_the_new_one() {
        let account = account();
        assert_eq!(secrets(&account, at(0)), [signing_secret([1; 32])]);
        let rotated = account.rotate("whsec_b".into(), at(1));
        assert_eq!(secrets(&rotated, at(1)), ["whsec_b", &signing_secret([1; 32])]);
        let last = Timestamp::from_millis(at(25).as_millis() - 1);
        assert_eq!(secrets(&rotated, last).len(), 2);
        assert_eq!(secrets(&rotated, at(25)), ["whsec_b"]);
    }

    #[test]
    fn after_two_rotations_within_a_day_the_last_two_secrets_sign() {
        let rotated = account().rotate("whsec_b".into(), at(1)).rotate("whsec_c".into(), at(2));
        assert_eq!(secrets(&rotated, at(2)), ["whsec_c", "whsec_b"]);
        assert_eq!(secrets(&rotated, at(26)), ["whsec_c"]);
    }

    #[test]
    fn limits_that_are_not_stored_are_the_default_ones() {
        let stored = serde_json::json!({
            "id": account().id, "name": "Bakery", "created_at": at(0), "signing_secret": "whsec_a",
            "limits": { "live_calls": 2 },
        });
        let account: Account = serde_json::from_value(stored).unwrap();
        assert_eq!(account.limits, Limits { live_calls: 2, ..Limits::default() });
        assert_eq!(account.previous_signing_secret, None);
    }

    #[test]
    fn no_secret_of_an_account_is_printed() {
        let account = account().rotate("whsec_b".into(), at(1));
        let printed = format!("{account:?} {:?}", account.previous_signing_secret);
        assert!(!printed.contains("whsec_"), "{printed}");
    }

    #[test]
    fn an_issued_token_shows_its_end_and_its_hash() {
        let token = Token::new([5; 32]);
        let issued = token.issued("ci".into(), at(0));
        assert!(token.reveal().ends_with(&issued.last4));
        assert_eq!((issued.last4.len(), issued.sha256), (4, token.sha256()));
        assert_eq!(Token::parse(token.reveal()), Some(token));
    }
}
