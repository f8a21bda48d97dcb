//! The clock, randomness and the environment: the only place that reads them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use switchboard_model::time::Timestamp;

/// The time of day.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the replacement that the lint names")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// `N` bytes from the operating system's generator, fit for secrets.
///
/// # Panics
/// When the operating system has no randomness to give, which on Linux it always has.
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

/// `N` bytes from the operating system's generator as `2 * N` lower-case hexadecimal digits: tokens, names.
#[must_use]
pub fn random_hex<const N: usize>() -> String {
    random::<N>().iter().fold(String::with_capacity(2 * N), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Environment variables, and what is wrong with them. All of it is reported at once.
///
/// ```
/// let mut vars = switchboard_runtime::Vars::from([("TABLE_NAME", "switchboard")]);
/// let table = vars.required("TABLE_NAME");
/// let queue = vars.required("CALLS_QUEUE_URL");
/// assert_eq!(table, "switchboard");
/// assert_eq!(vars.finish().unwrap_err().to_string(), "bad configuration: CALLS_QUEUE_URL is not set");
/// ```
#[derive(Default)]
pub struct Vars {
    values: BTreeMap<String, String>,
    bad: Vec<String>,
}

/// Variables that are missing or cannot be used; the process exits with code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad configuration: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl ConfigError {
    /// What a process exits with when it is not configured (`EX_USAGE` of `sysexits.h`).
    pub const EXIT_CODE: u8 = 64;
}

impl Vars {
    /// The process's own. Variables that are not UTF-8 count as unset.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { values: std::env::vars_os().filter_map(text).collect(), bad: vec![] }
    }

    /// The value of a variable; none if it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The value of a variable that must be set. If it is not, it is empty here and an error at the end.
    pub fn required(&mut self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.bad.push(format!("{name} is not set"));
            String::new()
        })
    }

    /// The value of a variable read as a `T`, or `default` if it is unset.
    pub fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T) -> T
    where
        T::Err: fmt::Display,
    {
        match self.get(name).map(|value| value.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                self.reject(format!("{name}: {error}"));
                default
            }
        }
    }

    /// Reports something else that is wrong; it should name the variable, and not show its value.
    pub fn reject(&mut self, problem: impl fmt::Display) {
        self.bad.push(problem.to_string());
    }

    /// All that was not well, `problems` included.
    #[must_use]
    pub fn rejected(mut self, problems: impl IntoIterator<Item: fmt::Display>) -> ConfigError {
        self.bad.extend(problems.into_iter().map(|problem| problem.to_string()));
        ConfigError(self.bad)
    }

    /// Whether everything was well, else all that was not.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.bad.is_empty() { Ok(()) } else { Err(ConfigError(self.bad)) }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Vars {
    fn from(values: [(&str, &str); N]) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { values, bad: vec![] }
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vars").field("bad", &self.bad).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_bad_is_reported_at_once() {
        let mut vars = Vars::from([("EMPTY", ""), ("MAX_CALLS", "many"), ("GOOD", "7")]);
        assert_eq!(vars.required("EMPTY"), "");
        assert_eq!(vars.required("MISSING"), "");
        assert_eq!(vars.parsed("MAX_CALLS", 100_usize), 100);
        assert_eq!(vars.parsed("GOOD", 1_u8), 7);
        assert_eq!(vars.parsed("UNSET", 1_u8), 1);
        vars.reject("PUBLIC_URL: not a URL");
        let bad = vars.finish().unwrap_err();
        assert_eq!(
            bad.0,
            [
                "EMPTY is not set",
                "MISSING is not set",
                "MAX_CALLS: invalid digit found in string",
                "PUBLIC_URL: not a URL"
            ]
        );
    }

    #[test]
    fn problems_of_others_are_added() {
        let mut vars = Vars::default();
        vars.required("MISSING");
        assert_eq!(
            vars.rejected(["TWILIO_API_URL: not a URL"]).0,
            ["MISSING is not set", "TWILIO_API_URL: not a URL"]
        );
    }

    #[test]
    fn randomness_differs_each_time() {
        assert_ne!(random::<32>(), random::<32>());
        assert_ne!(random_u128(), random_u128());
        assert_ne!(random_hex::<32>(), random_hex::<32>());
    }

    #[test]
    fn random_digits_are_hexadecimal_and_two_to_a_byte() {
        let digits = random_hex::<32>();
        assert_eq!(digits.len(), 64);
        assert!(digits.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')), "{digits}");
    }
}
