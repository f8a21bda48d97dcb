use std::fmt;

/// A key or token. It prints as `[redacted]` and does not serialize.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps the plain text.
    #[must_use]
    pub fn new(plain: impl Into<String>) -> Self {
        Self(plain.into())
    }

    /// The plain text, for the one place that puts it on the wire.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_text() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk_live_123"))), "Some([redacted])");
    }
}
