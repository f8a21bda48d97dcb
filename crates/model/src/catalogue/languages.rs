//! Language tags (BCP-47), and the languages that a vendor lists.

/// The languages of a model: BCP-47 tags, or the vendor's word for several at once (`multi`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Languages {
    /// All, or the vendor does not ask for one.
    Any,
    /// These and no others; the vendor refuses a regional variant that is not listed.
    Listed(&'static [&'static str]),
}

impl Languages {
    /// Whether the vendor takes `language`.
    #[must_use]
    pub fn contains(self, language: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(&language),
        }
    }

    /// The tag that the vendor takes for `language`: the tag itself, else its language without a region (`fr` for
    /// `fr-FR`), else the first of the regions of the language (`pt-BR` for `pt`). None if it takes none of them.
    #[must_use]
    pub fn nearest(self, language: &str) -> Option<&str> {
        let Self::Listed(listed) = self else { return Some(language) };
        let find = |is_it: &dyn Fn(&str) -> bool| listed.iter().copied().find(|listed| is_it(listed));
        find(&|tag| is_same(tag, language))
            .or_else(|| find(&|tag| tag.eq_ignore_ascii_case(language_of(language))))
            .or_else(|| find(&|tag| is_same_language(tag, language)))
    }
}

/// The language of a tag, without its region.
pub(super) fn primary(tag: &str) -> &str {
    tag.split(['-', '_']).next().unwrap_or(tag)
}

/// The language of a tag by one of its names: vendors write Norwegian `no` or `nb`, Filipino `fil` or `tl`.
fn language_of(tag: &str) -> &str {
    match primary(tag) {
        norwegian if norwegian.eq_ignore_ascii_case("nb") => "no",
        filipino if filipino.eq_ignore_ascii_case("tl") => "fil",
        other => other,
    }
}

/// Whether two tags are of one language, whatever their regions.
pub(super) fn is_same_language(tag: &str, other: &str) -> bool {
    language_of(tag).eq_ignore_ascii_case(language_of(other))
}

/// Whether two tags differ in their spelling only: `pt-BR` and `pt_br`.
fn is_same(tag: &str, other: &str) -> bool {
    tag.len() == other.len()
        && tag.bytes().zip(other.bytes()).all(|(one, other)| {
            one.eq_ignore_ascii_case(&other) || (matches!(one, b'-' | b'_') && matches!(other, b'-' | b'_'))
        })
}

/// A tag as most vendors spell it: `pt-BR` for `pt_br`, `zh-Hans-CN` for `zh-hans-cn`.
pub(super) fn canonical(tag: &str) -> String {
    let part = |(place, part): (usize, &str)| match (place, part.len()) {
        (0, _) => part.to_ascii_lowercase(),
        (_, 4) => part[..1].to_ascii_uppercase() + &part[1..].to_ascii_lowercase(),
        _ => part.to_ascii_uppercase(),
    };
    tag.split(['-', '_']).filter(|part| part.is_ascii()).enumerate().map(part).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_asked_for_as_the_vendor_lists_it() {
        let listed = Languages::Listed(&["en", "en-GB", "fr", "no", "pt-BR", "pt-PT"]);
        for (language, nearest) in [
            ("en-GB", Some("en-GB")),
            ("en_gb", Some("en-GB")),
            ("en-NZ", Some("en")),
            ("EN", Some("en")),
            ("fr-CA", Some("fr")),
            ("pt", Some("pt-BR")),
            ("pt-PT", Some("pt-PT")),
            ("pt-AO", Some("pt-BR")),
            ("nb-NO", Some("no")),
            ("sw", None),
            ("", None),
        ] {
            assert_eq!(listed.nearest(language), nearest, "{language}");
        }
        assert_eq!(Languages::Any.nearest("sw"), Some("sw"));
    }

    #[test]
    fn a_tag_has_one_spelling() {
        for (tag, spelled) in
            [("pt_br", "pt-BR"), ("EN", "en"), ("zh-hans-cn", "zh-Hans-CN"), ("es-419", "es-419")]
        {
            assert_eq!(canonical(tag), spelled);
        }
    }
}
