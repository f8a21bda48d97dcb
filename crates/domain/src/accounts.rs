//! Accounts and the tokens that open them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ids::AccountId, time::Timestamp};

/// One customer of this deployment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Signs its webhooks (Standard Webhooks: `whsec_` and 32 random bytes in base64).
    pub signing_secret: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A bearer token: `sk_` and 32 characters. Shown once when it is made; only its hash is stored.
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
        let letters = token.strip_prefix("sk_")?;
        let valid = scheme.eq_ignore_ascii_case("bearer")
            && letters.len() == 32
            && letters.bytes().all(|byte| byte.is_ascii_alphanumeric());
        valid.then(|| Self(token.to_owned()))
    }

    /// What is stored instead of the token.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(&self.0)
    }

    /// The token itself, to be shown once to its owner.
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
pub fn sha256_hex(secret: &str) -> String {
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
    fn a_token_opens_with_any_case_of_bearer_and_is_never_printed() {
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
}
