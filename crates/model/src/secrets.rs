//! Secrets of customers and vendors: in plain text for the moment of their use, and encrypted for storage.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A key or token. It prints as `[redacted]` and does not serialize.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the plain text.
    #[must_use]
    pub fn new(plain: impl Into<String>) -> Self {
        Self(plain.into())
    }

    /// The plain text, for the code that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A secret in storage: encrypted with a key of its own, beside that key, which the key service encrypted. All parts
/// are base64. Only the key service that sealed it can open it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key, encrypted by the key service.
    pub key: String,
    /// The nonce, used once with that key.
    pub nonce: String,
    /// The encrypted secret and its authentication tag.
    pub text: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_text() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk_live_123"))), "Some([redacted])");
        let sealed = Sealed { key: "a".into(), nonce: "b".into(), text: "c".into() };
        assert_eq!(format!("{sealed:?}"), "[redacted]");
    }
}
