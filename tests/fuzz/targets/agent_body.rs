//! An agent's body is refused with at least one error that names its place, or it is read, shown and read
//! again as the same agent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_contract::agents;
use switchboard_model::egress_policy::EgressPolicy;

fuzz_target!(|text: &str| {
    let Ok(body) = serde_json::from_str(text) else { return };
    match agents::create(&body, EgressPolicy::PublicOnly).into_valid() {
        Ok(agent) => {
            let shown = serde_json::to_value(&agent).expect("an agent is JSON");
            let read = agents::create(&shown, EgressPolicy::PublicOnly).into_valid();
            // Defaults that are filled in may exceed the limit of the size.
            assert!(read.is_err() || read == Ok(agent), "{shown}");
        }
        Err(errors) => assert!(errors.iter().all(|error| !error.loc.is_empty()), "{text}"),
    }
});
