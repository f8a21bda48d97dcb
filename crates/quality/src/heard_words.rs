//! Heard words against stored words.

use strsim::generic_levenshtein;

/// The words of an agent's message that were stored, against those that were recognised in the recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeardWords {
    /// Words that were stored.
    pub stored: usize,
    /// Words to change, add or drop in order to turn one text into the other.
    pub errors: usize,
}

impl HeardWords {
    /// Compares two texts, split into words in one notation.
    pub fn between(stored: &[String], heard: &[String]) -> Self {
        let errors = generic_levenshtein(&Words(stored), &Words(heard));
        Self { stored: stored.len(), errors }
    }

    /// Adds another message.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.errors += other.errors;
    }

    /// The word error rate; none if no word was stored.
    #[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 words")]
    pub fn rate(self) -> Option<f64> {
        (self.stored > 0).then(|| self.errors as f64 / self.stored as f64)
    }
}

/// A sized list, as the library needs one.
struct Words<'a>(&'a [String]);

impl<'a> IntoIterator for &'a Words<'_> {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
