//! Random bytes from the operating system. Every other module and crate takes randomness as a parameter.

use std::fmt::Write as _;

/// `N` random bytes that are fit for secrets.
///
/// # Panics
/// If the operating system has no randomness to give. On Linux it always has, once its generator is seeded.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the replacement that the lint names")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's generator does not fail once it is seeded");
    bytes
}

/// 128 random bits, for ids.
#[must_use]
pub fn random_u128() -> u128 {
    u128::from_ne_bytes(random())
}

/// `N` random bytes as `2 * N` lower-case hexadecimal digits, for tokens and names.
#[must_use]
pub fn random_hex<const N: usize>() -> String {
    random::<N>().iter().fold(String::with_capacity(2 * N), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random::<32>(), random::<32>());
        assert_ne!(random_u128(), random_u128());
        assert_ne!(random_hex::<32>(), random_hex::<32>());
    }

    #[test]
    fn each_byte_becomes_two_hexadecimal_digits() {
        let digits = random_hex::<32>();
        assert_eq!(digits.len(), 64);
        assert!(digits.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')), "{digits}");
    }
}
