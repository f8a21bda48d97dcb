//! No stream of a model server crashes the decoder of server-sent events or of chunks, however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_providers::fuzzing::model_stream;

fuzz_target!(|bytes: &[u8]| {
    let whole = model_stream(bytes, bytes.len());
    assert_eq!(model_stream(bytes, bytes.len() / 2), whole, "a cut changes the events");
});
