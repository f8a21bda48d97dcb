//! Speech Synthesis Markup Language: the document of one clause. Pure.

use quick_xml::{
    Writer,
    escape::partial_escape,
    events::{BytesEnd, BytesStart, BytesText, Event},
};

/// A voice with its settings, in per cent of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voice {
    pub(super) name: String,
    pub(super) pitch: i8,
    pub(super) rate: i8,
}

/// A document, and the characters that it is billed as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) text: String,
    pub(super) billed: u64,
}

impl Voice {
    /// The document that speaks a clause. Characters that XML forbids are left out.
    pub(super) fn document(&self, clause: &str) -> Document {
        let spoken: String = clause.chars().filter(|c| is_xml(*c)).collect();
        let inner = self.with_prosody(&spoken);
        let mut writer = Writer::new(Vec::new());
        let speak = BytesStart::new("speak").with_attributes([
            ("version", "1.0"),
            ("xmlns", "http://www.w3.org/2001/10/synthesis"),
            ("xml:lang", self.locale()),
        ]);
        let voice = BytesStart::new("voice").with_attributes([("name", self.name.as_str())]);
        let events = [
            Event::Start(speak),
            Event::Start(voice),
            Event::Text(BytesText::from_escaped(inner.as_str())),
            Event::End(BytesEnd::new("voice")),
            Event::End(BytesEnd::new("speak")),
        ];
        for event in events {
            writer.write_event(event).expect("a vector takes all bytes");
        }
        let text = String::from_utf8(writer.into_inner()).expect("texts and names are UTF-8");
        Document { text, billed: billed(&inner) }
    }

    /// The text within its prosody, escaped.
    fn with_prosody(&self, text: &str) -> String {
        let mut writer = Writer::new(Vec::new());
        // Escaped quotes would be billed.
        let text = Event::Text(BytesText::from_escaped(partial_escape(text)));
        let (pitch, rate) = (format!("{:+}%", self.pitch), format!("{:+}%", self.rate));
        let attributes = [("pitch", (self.pitch, &pitch)), ("rate", (self.rate, &rate))];
        let attributes = attributes.into_iter().filter(|(_, (percent, _))| *percent != 0);
        let prosody = BytesStart::new("prosody")
            .with_attributes(attributes.map(|(name, (_, value))| (name, value.as_str())));
        let events = if self.pitch == 0 && self.rate == 0 {
            vec![text]
        } else {
            vec![Event::Start(prosody), text, Event::End(BytesEnd::new("prosody"))]
        };
        for event in events {
            writer.write_event(event).expect("a vector takes all bytes");
        }
        String::from_utf8(writer.into_inner()).expect("texts and names are UTF-8")
    }

    /// The locale in the voice's name, such as `en-US` in `en-US-AvaMultilingualNeural`. A locale that the voice does not
    /// speak would be answered with silence.
    fn locale(&self) -> &str {
        let end = self.name.match_indices('-').nth(1).map(|(index, _)| index);
        end.map_or("en-US", |end| &self.name[..end])
    }
}

/// Whether XML 1.0 allows a character.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Everything within `<voice>` is billed, its markup too; a Chinese character, also in Japanese or Korean, counts as two.
fn billed(inner: &str) -> u64 {
    let is_chinese =
        |c: char| matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    inner.chars().map(|c| 1 + u64::from(is_chinese(c))).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;

    use super::*;

    fn voice(pitch: i8, rate: i8) -> Voice {
        Voice { name: "en-US-AvaMultilingualNeural".into(), pitch, rate }
    }

    #[test]
    fn a_clause_is_escaped_and_bears_the_settings() {
        assert_eq!(
            voice(5, -10).document("Fish & <chips>\u{1}").text,
            "<speak version=\"1.0\" xmlns=\"http://www.w3.org/2001/10/synthesis\" xml:lang=\"en-US\">\
             <voice name=\"en-US-AvaMultilingualNeural\"><prosody pitch=\"+5%\" rate=\"-10%\">\
             Fish &amp; &lt;chips&gt;</prosody></voice></speak>"
        );
        let plain = voice(0, 0).document("Hi.");
        assert!(plain.text.contains("\">Hi.</voice>"), "{}", plain.text);
        assert!(voice(0, 7).document("Hi.").text.contains("<prosody rate=\"+7%\">"));
    }

    #[test]
    fn markup_and_chinese_characters_are_billed() {
        assert_eq!(voice(0, 0).document("Hi.").billed, 3);
        assert_eq!(voice(0, 0).document("\u{4f60}\u{597d}.").billed, 5);
        assert_eq!(voice(0, 7).document("Hi.").billed, 3 + "<prosody rate=\"+7%\"></prosody>".len() as u64);
    }

    #[test]
    fn the_locale_is_the_one_of_the_voice() {
        let locale = |name: &str| Voice { name: name.into(), pitch: 0, rate: 0 }.locale().to_owned();
        assert_eq!(locale("de-DE-KatjaNeural"), "de-DE");
        assert_eq!(locale("en-US-Ava:DragonHDLatestNeural"), "en-US");
        assert_eq!(locale("mine"), "en-US");
    }

    proptest! {
        #[test]
        fn any_clause_is_well_formed(clause in any::<String>(), pitch in -20_i8..=20, rate in -50_i8..=50) {
            let document = voice(pitch, rate).document(&clause).text;
            let mut reader = Reader::from_str(&document);
            let mut text = String::new();
            loop {
                match reader.read_event().unwrap() {
                    Event::Eof => break,
                    Event::Text(part) => text.push_str(&part.decode().unwrap()),
                    Event::GeneralRef(part) => {
                        let name = part.decode().unwrap();
                        match name.as_ref() {
                            "amp" => text.push('&'),
                            "lt" => text.push('<'),
                            "gt" => text.push('>'),
                            "quot" => text.push('"'),
                            "apos" => text.push('\''),
                            _ => text.push(part.resolve_char_ref().unwrap().unwrap()),
                        }
                    }
                    _ => {}
                }
            }
            let allowed: String = clause.chars().filter(|c| is_xml(*c)).collect();
            prop_assert_eq!(text, allowed);
        }
    }
}
