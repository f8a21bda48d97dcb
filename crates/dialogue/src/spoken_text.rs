//! Converts written text to spoken text: models write Markdown, speech markup and emoji, and a synthesizer would read
//! them aloud.

/// The text as it is spoken: one line without Markdown, tags and emoji. None if nothing of it can be said.
pub(crate) fn speakable(text: &str) -> Option<String> {
    let mut spoken = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim();
        // A rule, a table's ruler, or the fence of a code block.
        let is_ruler = line.chars().all(|c| "-*_=|:+ ".contains(c));
        if is_ruler || line.starts_with("```") {
            continue;
        }
        let line = line.trim_start_matches(['#', '>']).trim_start();
        let line =
            ["- ", "* ", "+ ", "\u{2022} "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        spoken.push(' ');
        speak_line(line, &mut spoken);
    }
    let spoken = spoken.split_whitespace().collect::<Vec<_>>().join(" ");
    spoken.contains(char::is_alphanumeric).then_some(spoken)
}

/// Appends one line without its markup.
fn speak_line(line: &str, spoken: &mut String) {
    let mut before = ' ';
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let next = after.chars().next().unwrap_or(' ');
        rest = after;
        match c {
            // An escaped character stands for itself.
            '\\' if next.is_ascii_punctuation() => {
                // A tilde means "about", and has no sound.
                if next != '~' {
                    spoken.push(next);
                }
                rest = &after[1..];
            }
            '<' => match tag(after) {
                Some((name, behind)) => {
                    if SEPARATING.contains(&name) {
                        spoken.push(' ');
                    }
                    rest = behind;
                }
                None => spoken.push(c),
            },
            // [text](address) is spoken as its text; so is an image.
            '!' if next == '[' && link(&after[1..]).is_some() => {}
            '[' => match link(after) {
                Some((label, behind)) => {
                    speak_line(label, spoken);
                    rest = behind;
                }
                None => spoken.push(c),
            },
            // Between digits an asterisk means "times".
            '*' if before.is_numeric() && next.is_numeric() => spoken.push(c),
            // An underscore within a word belongs to a name.
            '_' if before.is_alphanumeric() && next.is_alphanumeric() => spoken.push(c),
            '*' | '_' | '`' | '~' => {}
            '|' => spoken.push(' '),
            c if is_emoji(c) => {}
            c => spoken.push(c),
        }
        before = c;
    }
}

/// Tags between words.
const SEPARATING: [&str; 6] = ["br", "break", "div", "li", "p", "s"];

/// The name of a tag whose opening bracket is just before `text`, and what follows the tag.
fn tag(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('/').unwrap_or(text);
    let name = inside.split(|c: char| !c.is_ascii_alphanumeric() && !"_:-".contains(c)).next()?;
    let (rest, behind) = inside[name.len()..].split_once('>')?;
    let is_tag = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !rest.contains('<')
        && (rest.is_empty() || rest.starts_with([' ', '/']));
    is_tag.then_some((name, behind))
}

/// The text of a link whose opening bracket is just before `text`, and what follows the link.
pub(crate) fn link(text: &str) -> Option<(&str, &str)> {
    let (label, address) = text.split_once("](")?;
    let (_, behind) = address.split_once(')')?;
    (!label.contains('[')).then_some((label, behind))
}

/// Pictures, arrows and joiners, by Unicode block; no digit or letter is among them.
fn is_emoji(c: char) -> bool {
    matches!(c,
        '\u{200d}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}'
        | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_and_emoji_are_not_spoken() {
        for (written, spoken) in [
            ("**Yes!** We _do_ `that` \u{1f600}\u{fe0f} daily", "Yes! We do that daily"),
            (
                "## Prices\n- Bread: 3 \u{20ac}\n* Cake: *much* more",
                "Prices Bread: 3 \u{20ac} Cake: much more",
            ),
            ("See [our page](https://example.com/a_b) now", "See our page now"),
            ("![a cake](x.png) is it", "a cake is it"),
            ("3*4 is 12, snake_case, -5 degrees, #5", "3*4 is 12, snake_case, -5 degrees, #5"),
            ("| Tea | 2 |\n|---|---|\n```json\nx\n```", "Tea 2 x"),
            ("a [b] c ![", "a [b] c !["),
            (
                "[our opening hours, prices and more](https://example.com/?a=1) today",
                "our opening hours, prices and more today",
            ),
            (r#"<speak>We close at <break time="500ms"/> six.</speak>"#, "We close at six."),
            ("bread<br>cakes, <b>all</b> day", "bread cakes, all day"),
            ("2 < 3 and 5 > 4, <3, a <b", "2 < 3 and 5 > 4, <3, a <b"),
            (r"3 \* 4 \_is\_ \~20 \\ C:\x", r"3 * 4 _is_ 20 \ C:\x"),
        ] {
            assert_eq!(speakable(written).as_deref(), Some(spoken), "{written}");
        }
        for silent in ["", " ", "...", "\u{1f389}!", "**", "---", "\u{1f1e9}\u{1f1ea}"] {
            assert_eq!(speakable(silent), None, "{silent}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_spoken(text in "\\PC{0,200}") {
            if let Some(spoken) = speakable(&text) {
                prop_assert!(spoken.contains(char::is_alphanumeric));
                prop_assert_eq!(spoken.trim(), &spoken);
            }
        }
    }
}
