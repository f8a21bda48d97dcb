//! Identifiers in the form that the vendors give theirs. They are unique, but not secret.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

/// An identifier in the carrier's form: a prefix and 32 hexadecimal digits.
pub(crate) fn sid(prefix: &str) -> String {
    // The standard library seeds every `RandomState` differently, from the system's randomness.
    let random = || RandomState::new().build_hasher().finish();
    format!("{prefix}{:016x}{:016x}", random(), random())
}

/// A random identifier in the form of a UUID.
pub(crate) fn uuid() -> String {
    let hex = sid("");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn uuids_have_their_form_and_differ() {
        let id = uuid();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(id, uuid());
    }
}
