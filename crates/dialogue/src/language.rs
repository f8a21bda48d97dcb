//! Language tags.

/// The language of a BCP-47 tag, without its region.
pub(crate) fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or_default()
}

/// The entry of a table that is keyed by language.
pub(crate) fn entry<'a, T>(table: &'a [(&str, T)], tag: &str) -> Option<&'a T> {
    let primary = primary(tag);
    table.iter().find(|(language, _)| language.eq_ignore_ascii_case(primary)).map(|(_, entry)| entry)
}
