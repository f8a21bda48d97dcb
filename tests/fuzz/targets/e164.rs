//! A text is a telephone number only if it is written back as it was read, and its calling code is its start.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_model::phone_numbers::E164;

fuzz_target!(|text: &str| {
    let Ok(number) = text.parse::<E164>() else { return };
    assert_eq!(number.as_str(), text);
    assert!(text.starts_with(number.calling_code()), "{text}");
    assert!(!format!("{number:?}").contains(text), "{text} is printed by Debug");
});
