//! Deepgram: transcribers ([`listen`], and [`flux`] for models that end turns) and synthesizer ([`speak`]).

pub mod flux;
pub mod listen;
mod socket;
pub mod speak;
mod throttle;

pub(crate) const VENDOR: &str = "deepgram";

/// The query parameter that takes a request out of the vendor's "model improvement programme".
const OPT_OUT: (&str, &str) = ("mip_opt_out", "true");

#[cfg(test)]
mod tests {
    use switchboard_model::audio::AudioFormat;

    use crate::{Providers, egress, endpoints::Endpoints, keys::Keys, synthesizer::TIMEOUTS};

    use super::{
        flux::Flux,
        listen::{Listen, Settings, Timing},
        speak::Speak,
    };

    #[test]
    fn a_deployment_can_forbid_training() {
        for (value, expected) in [("true", true), ("false", false)] {
            let variable = |name: &str| (name == "DEEPGRAM_MIP_OPT_OUT").then(|| value.to_owned());
            let providers = Providers {
                http: egress::client(),
                endpoints: Endpoints::from_vars(&variable).unwrap(),
                keys: Keys::parse(
                    r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","deepgram_api_key":"dg-1"}"#,
                )
                .unwrap(),
            };
            let settings =
                Settings { model: "nova-3", language: "en", key_terms: &["corner bakery".to_owned()] };
            let listen = Listen::new(&providers, &settings, Timing::default()).unwrap();
            assert_eq!(
                listen.url().as_str().ends_with("&keyterm=corner%20bakery&mip_opt_out=true"),
                expected
            );
            let flux = Settings { model: "flux-general-en", ..settings };
            let flux = Flux::new(&providers, &flux, crate::deepgram::flux::Timing::default()).unwrap();
            assert_eq!(flux.url().as_str().ends_with("&mip_opt_out=true"), expected);
            let speak = Speak::new(&providers, "aura-2-thalia-en", TIMEOUTS).unwrap();
            let url = speak.url(AudioFormat::TELEPHONE);
            assert_eq!(url.query().unwrap().contains("mip_opt_out=true"), expected, "{url}");
        }
    }
}
