//! The models of the API, their last days as announced in November 2026, and their levels of thinking.

use jiff::civil::{Date, date};

/// Models in the list; other versions of the same families work, too.
pub(super) const LISTED: [&str; 4] =
    ["gemini-3.8-flash", "gemini-3.6-flash", "gemini-3.1-flash-lite", "gemini-3.1-pro-preview"];

/// Names of models that exist or existed, by how they begin.
const FAMILIES: [&str; 16] = [
    "gemini-4-argon",
    "gemini-4-neon",
    "gemini-4-hydrogen",
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.6-flash",
    "gemini-3.5-flash",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3-pro-preview",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
    "gemini-flash-latest",
    "gemini-flash-lite-latest",
];

/// Beginnings of names, and the first day on which each is refused. The first one that matches counts.
const RETIREMENTS: [(&str, Date); 5] = [
    ("gemini-3.1-flash-lite-preview", date(2026, 5, 25)),
    ("gemini-3.1-flash-lite", date(2027, 5, 7)),
    ("gemini-3-pro-preview", date(2026, 3, 9)),
    ("gemini-2.5", date(2026, 10, 16)),
    ("gemini-2.0", date(2026, 6, 1)),
];

/// Whether the API has or had the model.
pub(super) fn is_known(model: &str) -> bool {
    FAMILIES
        .iter()
        .any(|family| model.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// Whether the model is retired on this day.
pub(super) fn is_retired(model: &str, today: Date) -> bool {
    RETIREMENTS.iter().find(|(name, _)| model.starts_with(name)).is_some_and(|(_, retired)| *retired <= today)
}

/// The levels of thinking that a model takes; none: it takes a budget.
pub(super) fn levels(model: &str) -> &'static [&'static str] {
    let is_of = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    match model {
        _ if is_of(&["gemini-2"]) => &[],
        _ if is_of(&["gemini-3-flash", "gemini-3.1-flash-lite", "gemini-3.5", "gemini-3.6"]) => {
            &["MINIMAL", "LOW", "MEDIUM", "HIGH"]
        }
        _ => &["LOW", "MEDIUM", "HIGH"],
    }
}

/// Whether a function call in the conversation must have its thought signature.
pub(super) fn requires_signatures(model: &str) -> bool {
    !model.starts_with("gemini-2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_ends_on_its_day() {
        let today = date(2026, 11, 30);
        for retired in ["gemini-2.5-flash", "gemini-2.0-flash-001", "gemini-3-pro-preview"] {
            assert!(is_known(retired) && is_retired(retired, today), "{retired}");
        }
        for live in ["gemini-3.8-flash", "gemini-3.1-flash-lite", "gemini-3.5-flash-lite", "gemini-4-argon"] {
            assert!(is_known(live) && !is_retired(live, today), "{live}");
        }
        assert!(is_retired("gemini-3.1-flash-lite", date(2027, 5, 7)));
        assert!(!is_known("gemini-9-flash") && !is_known("gemini-3.8-flashy") && !is_known("gpt-6-luna"));
    }
}
