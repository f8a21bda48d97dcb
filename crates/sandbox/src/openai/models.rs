//! The models of the API, and the days on which they end, as announced in November 2026.

use jiff::civil::{Date, date};

/// Beginnings of the names of models that exist or existed.
const FAMILIES: [&str; 5] = ["gpt-", "chatgpt-", "o1", "o3", "o4"];

/// Names of models and the first day on which each is refused. A name also stands for its dated versions, and the first
/// one that matches counts.
const RETIREMENTS: [(&str, Date); 15] = [
    ("gpt-3.5-turbo", date(2026, 10, 23)),
    ("gpt-4-turbo", date(2026, 10, 23)),
    ("gpt-4", date(2026, 10, 23)),
    ("gpt-4o-2024-05-13", date(2026, 10, 23)),
    ("gpt-4o", date(2027, 1, 14)),
    ("gpt-4.1-nano", date(2026, 10, 23)),
    ("gpt-4.1", date(2027, 1, 14)),
    ("gpt-5-mini", date(2026, 12, 11)),
    ("gpt-5-nano", date(2026, 12, 11)),
    ("gpt-5", date(2026, 12, 11)),
    ("gpt-5.1", date(2027, 4, 1)),
    ("o1", date(2026, 10, 23)),
    ("o3-mini", date(2026, 10, 23)),
    ("o3", date(2026, 12, 11)),
    ("o4-mini", date(2026, 10, 23)),
];

/// Whether the API serves the model on this day.
pub(super) fn exists(model: &str, today: Date) -> bool {
    FAMILIES.iter().any(|family| model.starts_with(family))
        && shutdown_date(model).is_none_or(|retired| today < retired)
}

/// The first day on which the model is refused, if it is announced.
pub(super) fn shutdown_date(model: &str) -> Option<Date> {
    if model.ends_with("-chat-latest") {
        return None;
    }
    let is_named =
        |name: &str| model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    RETIREMENTS.iter().find(|(name, _)| is_named(name)).map(|(_, retired)| *retired)
}

/// The efforts that a model takes; none: it does not reason, and does not know the parameter.
pub(super) fn efforts(model: &str) -> &'static [&'static str] {
    let is_of = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    match model {
        "gpt-5-chat-latest" => &[],
        _ if model.ends_with("-chat-latest") => &["medium"],
        _ if is_of(&["o1", "o3", "o4"]) => &["low", "medium", "high"],
        _ if model == "gpt-5" || is_of(&["gpt-5-"]) => &["minimal", "low", "medium", "high"],
        _ if is_of(&["gpt-5", "gpt-6"]) => &["none", "low", "medium", "high", "xhigh", "max"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_ends_on_its_day() {
        let today = date(2026, 11, 30);
        for retired in
            ["gpt-3.5-turbo-0125", "gpt-4", "gpt-4-0613", "gpt-4.1-nano", "o1", "o3-mini", "o4-mini"]
        {
            assert!(!exists(retired, today), "{retired}");
        }
        for live in ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-5-chat-latest", "gpt-5.6-terra", "o3"]
        {
            assert!(exists(live, today), "{live}");
        }
        assert!(!exists("llama", today));
        assert!(exists("gpt-5", date(2026, 12, 10)) && !exists("gpt-5", date(2026, 12, 11)));
        assert!(exists("gpt-4o-mini", date(2027, 1, 13)) && !exists("gpt-4o-mini", date(2027, 1, 14)));
    }
}
