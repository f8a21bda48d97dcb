//! Environment variables. All problems of a configuration are collected and reported together.
//!
//! A binary reads its variables once, in `main`. It knows nothing of the meaning of a variable: that is in
//! [`config`](crate::config) and in the binaries' own configurations.

use std::{collections::BTreeMap, fmt};

/// Environment variables, and the problems found in them so far.
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

/// Variables that are missing or cannot be used, each with its problem. Values are not repeated: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad configuration: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl ConfigError {
    /// The exit code of a process that is configured wrongly (`EX_USAGE` of `sysexits.h`).
    pub const EXIT_CODE: u8 = 64;
}

impl Vars {
    /// The variables of this process. A variable that is not UTF-8 counts as unset.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { values: std::env::vars_os().filter_map(text).collect(), bad: vec![] }
    }

    /// The value of a variable, or `None` if it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The value of a variable that must be set. A missing one is recorded as a problem and read as empty.
    pub fn required(&mut self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.bad.push(format!("{name} is not set"));
            String::new()
        })
    }

    /// The value of a variable read as a `T`, or `default` if it is unset. A value that cannot be read is recorded
    /// as a problem.
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

    /// Records another problem. Its text should name the variable and must not contain the value.
    pub fn reject(&mut self, problem: impl fmt::Display) {
        self.bad.push(problem.to_string());
    }

    /// Ends reading.
    ///
    /// # Errors
    /// All recorded problems.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.bad.is_empty() { Ok(()) } else { Err(ConfigError(self.bad)) }
    }

    /// Ends reading with a group of variables that another crate reads by itself.
    ///
    /// # Errors
    /// All recorded problems, and those of the group.
    pub fn finish_with<T, E: fmt::Display>(
        mut self,
        read: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, Vec<E>>,
    ) -> Result<T, ConfigError> {
        let group = read(&|name| self.get(name));
        match group {
            Ok(group) => self.finish().map(|()| group),
            Err(problems) => {
                self.bad.extend(problems.iter().map(ToString::to_string));
                Err(ConfigError(self.bad))
            }
        }
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
    fn all_problems_are_reported_at_once() {
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
    fn problems_of_a_group_are_added() {
        let mut vars = Vars::default();
        vars.required("MISSING");
        let bad = vars.finish_with(|_| Err::<(), _>(vec!["ACME_API_URL: not a URL"])).unwrap_err();
        assert_eq!(bad.0, ["MISSING is not set", "ACME_API_URL: not a URL"]);
    }

    #[test]
    fn a_group_reads_the_same_variables() {
        let group = Vars::from([("A", "1")]).finish_with(|get| get("A").ok_or(vec!["A is not set"]));
        assert_eq!(group, Ok("1".to_owned()));
    }
}
