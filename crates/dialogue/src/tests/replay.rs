//! Replay logs that cannot be read, or that differ from what the engine decides.

use super::*;
use crate::replay::Log;

const LOG: &str = r#"{"format":2,"engine":1,"settings":{"greeting":null,"max_duration":null,"language":"en","takeover":null}}
{"at":0,"input":"MediaStarted","outputs":[]}
{"at":1000000,"input":{"Transcript":{"text":"Hello.","is_final":true,"spoken_until":null}},"outputs":[{"Event":{"Duration":{"seconds":1}}},{"Event":{"SpeechStarted":"user"}}]}
"#;

#[test]
fn the_first_step_that_differs_is_returned() {
    let log = Log::parse(LOG).unwrap();
    // The input precedes the second that has passed.
    let difference = log.difference().unwrap();
    assert_eq!(difference.logged.at, ms(1000));
    assert_eq!(
        difference.decided,
        [
            Output::Event(ConversationEvent::SpeechStarted(Role::User)),
            Output::Event(ConversationEvent::Duration { seconds: 1 })
        ]
    );
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let broken = LOG.replace("MediaStarted", "Stopped");
    let unreadable = |text: &str| Log::parse(text).unwrap_err().to_string();
    assert_eq!(unreadable(&broken), "line 2 of the log cannot be read");
    assert_eq!(unreadable(""), "line 1 of the log cannot be read");
    let old = LOG.replace("\"format\":2,", "");
    assert!(
        unreadable(&old).starts_with("the log has format 1, "),
        "a log without a format is of the first one"
    );
    assert_eq!(Log::parse(&LOG[..LOG.len() - 20]).unwrap().steps.len(), 1, "a last line that breaks off");
}
