use serde::{Deserialize, Serialize};

use super::E164;
use crate::time::Timestamp;

/// A number of the deployment's account at the carrier that no account of ours has. It was bought for an account that
/// deleted it without a release, and is billed until it is released. The next purchase that it fits takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PooledNumber {
    /// The number.
    pub phone_number: E164,
    /// The carrier's id of the number.
    pub sid: String,
    /// The time at which its last account deleted it.
    pub pooled_at: Timestamp,
}

impl PooledNumber {
    /// Whether the number contains these digits in a row; `*` stands for any one digit.
    #[must_use]
    pub fn contains(&self, digits: &str) -> bool {
        let number = self.phone_number.as_str().as_bytes();
        let fits = |(wanted, has): (u8, &u8)| wanted == *has || (wanted == b'*' && has.is_ascii_digit());
        digits.is_empty() || number.windows(digits.len()).any(|part| digits.bytes().zip(part).all(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_digits_in_a_row() {
        let number = PooledNumber {
            phone_number: "+14155550199".parse().unwrap(),
            sid: "PN1".to_owned(),
            pooled_at: Timestamp::from_millis(0),
        };
        for fitting in ["", "415", "+1415", "4*5", "0199", "*14155550199", "+1*1555*0199"] {
            assert_eq!(number.contains(fitting), fitting != "*14155550199", "{fitting}");
        }
        for other in ["416", "5+", "019999", "+141555501990"] {
            assert!(!number.contains(other), "{other}");
        }
    }
}
