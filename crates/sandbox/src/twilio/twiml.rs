//! Parses the part of `TwiML` that the simulated carrier supports.
//!
//! It is stricter than the real interpreter, which skips unknown elements with a warning: here an unknown verb or
//! attribute ends the call, so that tests notice a misspelling.

use std::time::Duration;

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use thiserror::Error;

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    /// `<Connect><Stream>`.
    Connect(Stream),
    /// `<Redirect method>url</Redirect>`: continue with the document at this URL, which may be relative.
    Redirect {
        url: String,
        get: bool,
    },
    Hangup,
    /// `<Reject>`: a ringing call is not answered, a live one is hung up.
    Reject {
        busy: bool,
    },
    /// `<Pause length>`.
    Pause(Duration),
}

/// A bidirectional media stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stream {
    /// As written, including the query.
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) status_callback: Option<String>,
    /// `<Parameter name value>`, in order.
    pub(super) parameters: Vec<(String, String)>,
}

/// An error in a document, with Twilio's code.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum TwimlError {
    #[error("document parse failure: {0}")]
    Malformed(String),
    #[error("schema validation: {0}")]
    Schema(String),
}

impl TwimlError {
    /// Twilio's error code.
    pub(super) fn code(&self) -> u32 {
        match self {
            Self::Malformed(_) => 12100,
            Self::Schema(_) => 12200,
        }
    }
}

#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    text: String,
}

/// Parses a document into its verbs, in order.
pub(super) fn parse(document: &str) -> Result<Vec<Verb>, TwimlError> {
    let root = tree(document).map_err(|error| TwimlError::Malformed(error.to_string()))?;
    let root = root.ok_or_else(|| TwimlError::Malformed("no root element".to_owned()))?;
    if root.name != "Response" {
        return Err(TwimlError::Malformed(format!("the root element is <{}>, not <Response>", root.name)));
    }
    root.children.iter().map(verb).collect()
}

fn verb(element: &Element) -> Result<Verb, TwimlError> {
    match element.name.as_str() {
        "Connect" => {
            element.allow(&["action", "method"])?;
            match element.children.as_slice() {
                [noun] if noun.name == "Stream" => stream(noun).map(Verb::Connect),
                _ => Err(schema("<Connect> needs one <Stream>")),
            }
        }
        "Redirect" => {
            element.allow(&["method"])?;
            let url = element.text.trim().to_owned();
            if url.is_empty() {
                return Err(schema("<Redirect> needs a URL"));
            }
            Ok(Verb::Redirect { url, get: element.attribute("method") == Some("GET") })
        }
        "Reject" => {
            element.allow(&["reason"])?;
            Ok(Verb::Reject { busy: element.attribute("reason") == Some("busy") })
        }
        "Hangup" => element.allow(&[]).map(|()| Verb::Hangup),
        "Pause" => {
            element.allow(&["length"])?;
            let length = element.attribute("length").unwrap_or("1").parse();
            let seconds = length.map_err(|_| schema("the length of a <Pause> is a number of seconds"))?;
            Ok(Verb::Pause(Duration::from_secs(seconds)))
        }
        other => Err(TwimlError::Schema(format!("unknown verb <{other}>"))),
    }
}

fn stream(element: &Element) -> Result<Stream, TwimlError> {
    element.allow(&["url", "name", "track", "statusCallback", "statusCallbackMethod"])?;
    let owned = |name| element.attribute(name).map(str::to_owned);
    if !matches!(element.attribute("track"), None | Some("inbound_track")) {
        // Twilio's 31941: <Connect> sends only the inbound track.
        return Err(schema("<Connect><Stream> knows only track inbound_track"));
    }
    let mut parameters = Vec::new();
    for child in &element.children {
        if child.name != "Parameter" {
            return Err(TwimlError::Schema(format!("unknown <{}> in <Stream>", child.name)));
        }
        child.allow(&["name", "value"])?;
        match (child.attribute("name"), child.attribute("value")) {
            (Some(name), Some(value)) => parameters.push((name.to_owned(), value.to_owned())),
            _ => return Err(schema("<Parameter> needs a name and a value")),
        }
    }
    let url = owned("url").ok_or_else(|| schema("<Stream> needs a url"))?;
    Ok(Stream { url, name: owned("name"), status_callback: owned("statusCallback"), parameters })
}

fn schema(message: &str) -> TwimlError {
    TwimlError::Schema(message.to_owned())
}

impl Element {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn allow(&self, names: &[&str]) -> Result<(), TwimlError> {
        match self.attributes.iter().find(|(key, _)| !names.contains(&key.as_str())) {
            Some((key, _)) => Err(TwimlError::Schema(format!("unknown attribute {key} of <{}>", self.name))),
            None => Ok(()),
        }
    }

    fn open(tag: &BytesStart<'_>) -> Result<Self, quick_xml::Error> {
        let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned();
            attributes.push((String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value));
        }
        Ok(Self { name, attributes, ..Self::default() })
    }
}

fn tree(document: &str) -> Result<Option<Element>, quick_xml::Error> {
    let mut reader = Reader::from_str(document);
    // The last element is the open one; the first, unnamed, is the document.
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event()?;
        let parent = open.last_mut().expect("the reader refuses an end tag without its start");
        match event {
            Event::Start(tag) => open.push(Element::open(&tag)?),
            Event::Empty(tag) => parent.children.push(Element::open(&tag)?),
            Event::End(_) => {
                let element = open.pop().expect("the reader refuses an end tag without its start");
                open.last_mut().expect("the document is never closed").children.push(element);
            }
            Event::Text(text) => parent.text.push_str(&text.decode()?),
            Event::CData(text) => parent.text.push_str(&text.decode()?),
            Event::GeneralRef(reference) => {
                let name = reference.decode()?;
                match reference.resolve_char_ref()? {
                    Some(character) => parent.text.push(character),
                    None => parent
                        .text
                        .push_str(quick_xml::escape::resolve_predefined_entity(&name).unwrap_or_default()),
                }
            }
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    // An element that was never closed is still open besides the document.
    let document = open.pop().filter(|_| open.is_empty());
    Ok(document.and_then(|mut document| document.children.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bidirectional_stream_with_a_redirect_is_parsed() {
        let verbs = parse(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <!-- the shape of every outbound call -->
            <Response>
              <Connect><Stream url="wss://voice.example.com/media" statusCallback="https://voice.example.com/s?a=1&amp;b=2">
                <Parameter name="call_id" value="01J&quot;x"/><Parameter name="token" value=""/>
              </Stream></Connect>
              <Pause/><Pause length="3"/>
              <Redirect method="POST">https://voice.example.com/resume?a=1&amp;b=2</Redirect>
              <Hangup/>
            </Response>"#,
        );
        let stream = Stream {
            url: "wss://voice.example.com/media".to_owned(),
            name: None,
            status_callback: Some("https://voice.example.com/s?a=1&b=2".to_owned()),
            parameters: vec![
                ("call_id".to_owned(), "01J\"x".to_owned()),
                ("token".to_owned(), String::new()),
            ],
        };
        let resume = "https://voice.example.com/resume?a=1&b=2".to_owned();
        assert_eq!(
            verbs,
            Ok(vec![
                Verb::Connect(stream),
                Verb::Pause(Duration::from_secs(1)),
                Verb::Pause(Duration::from_secs(3)),
                Verb::Redirect { url: resume, get: false },
                Verb::Hangup,
            ])
        );
    }

    #[test]
    fn an_empty_response_has_no_verbs() {
        assert_eq!(parse("<Response/>"), Ok(vec![]));
    }

    #[test]
    fn malformed_documents_are_12100_and_unknown_elements_12200() {
        let cases = [
            ("", 12100),
            ("hello", 12100),
            ("<Response>", 12100),
            ("<Response><Hangup></Response>", 12100),
            ("</Response>", 12100),
            ("<Answer/>", 12100),
            ("<Response><Dial>+1</Dial></Response>", 12200),
            ("<Response><Connect/></Response>", 12200),
            ("<Response><Connect><Stream/></Connect></Response>", 12200),
            (r#"<Response><Connect><Stream url="wss://a" uri=""/></Connect></Response>"#, 12200),
            (r#"<Response><Connect><Stream url="wss://a"><Param/></Stream></Connect></Response>"#, 12200),
            (r#"<Response><Pause length="soon"/></Response>"#, 12200),
            ("<Response><Redirect/></Response>", 12200),
        ];
        for (document, code) in cases {
            assert_eq!(parse(document).unwrap_err().code(), code, "{document}");
        }
    }
}
