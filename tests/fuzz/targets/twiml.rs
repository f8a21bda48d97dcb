//! For any text in a URL or a parameter, the document for the carrier is well-formed, has the elements it
//! should have and no other, and gives the text back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quick_xml::{Reader, XmlVersion, events::Event};
use switchboard_providers::{
    carrier::documents::{ConnectStream, Instructions},
    fuzzing::document,
};

fuzz_target!(|text: &str| {
    // XML has no way to write most control characters.
    if text.chars().any(|character| character.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&character)) {
        return;
    }
    let connect = ConnectStream {
        after: std::time::Duration::ZERO,
        url: text,
        parameters: &[("conversation_id", text), ("token", text)],
        status_callback: text,
        then: text,
    };
    let written = document(&Instructions::Connect(connect));
    let mut reader = Reader::from_str(&written);
    let (mut elements, mut texts) = (vec![], String::new());
    loop {
        match reader.read_event().expect("the document is well-formed") {
            Event::Start(start) | Event::Empty(start) => {
                elements.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                for attribute in start.attributes() {
                    let attribute = attribute.expect("attributes are well-formed");
                    texts.push_str(&attribute.normalized_value(XmlVersion::Implicit1_0).expect("references are known"));
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    elements.retain(|name| name != "Redirect");
    assert_eq!(elements, ["Response", "Connect", "Stream", "Parameter", "Parameter"], "{written}");
    assert!(texts.contains(text), "{written}");
});
