//! A URL that the public egress policy accepts has a public host, no user info, and TLS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_model::egress_policy::EgressPolicy;

fuzz_target!(|text: &str| {
    let Ok(url) = EgressPolicy::PublicOnly.url(text) else { return };
    assert_eq!(url.scheme(), "https", "{text}");
    assert!(url.username().is_empty() && url.password().is_none(), "{text}");
    let host = url.host_str().expect("an accepted URL has a host");
    for private in ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "192.168.0.1"] {
        assert_ne!(host, private, "{text}");
    }
});
