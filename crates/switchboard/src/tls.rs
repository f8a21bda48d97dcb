//! The TLS library of this process.

/// Installs the TLS library of HTTP clients, which is the same for all of the process.
pub(crate) fn install_tls_provider() {
    // Fails only if a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
