//! No frame crashes the codec of media streams, and frames that it writes can be read as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_providers::{
    carrier::media_stream::{InboundFrame, MediaStreamCodec},
    twilio::TwilioMediaStream,
};

fuzz_target!(|text: &str| {
    let mut codec = TwilioMediaStream::default();
    // Each line is a frame of one stream.
    for line in text.lines() {
        let name = match codec.parse(line) {
            Ok(InboundFrame::Mark { name }) => name.into_owned(),
            _ => continue,
        };
        for frame in [codec.mark(&name).to_owned(), codec.clear().to_owned(), codec.media(name.as_bytes()).to_owned()] {
            let _: serde_json::Value = serde_json::from_str(&frame).expect("a written frame is JSON");
        }
    }
});
