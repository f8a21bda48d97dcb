//! A provider that cannot be used: it plays its role by refusing every request.
//!
//! A deployment starts without some of its keys. A call that needs one of them records a provider fault and goes
//! on with what it has, exactly as if the vendor had refused the key.

use crate::Error;

/// Refuses every request with the same reason.
#[derive(Debug, Clone)]
pub struct Unusable {
    vendor: &'static str,
    code: &'static str,
    message: String,
}

impl Unusable {
    /// There is no adapter for the vendor; the catalogue's fallback should have replaced it.
    pub(crate) fn no_adapter(vendor: &'static str) -> Self {
        Self { vendor, code: "no_adapter", message: "served by a fallback only".to_owned() }
    }

    /// The deployment has no key named `key`.
    pub(crate) fn missing_key(vendor: &'static str, key: &'static str) -> Self {
        let message = format!("no key; add {key} to the provider keys of the deployment");
        Self { vendor, code: "missing_key", message }
    }

    /// The vendor's service has ended, and the deployment names no other server in `variable`.
    pub(crate) fn no_server(vendor: &'static str, variable: &str) -> Self {
        let message = format!("no server; set {variable} to one that speaks its protocol");
        Self { vendor, code: "no_server", message }
    }

    /// The error that ends every request.
    pub(crate) fn error(&self) -> Error {
        Error::rejected(self.vendor, self.code, &self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_missing_key() {
        let error = Unusable::missing_key("acme", "acme_api_key").error();
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            "acme refused the request (missing_key): no key; add acme_api_key to the provider keys of \
             the deployment"
        );
    }
}
