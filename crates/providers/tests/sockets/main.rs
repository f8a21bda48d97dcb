//! The adapters against servers on real sockets that speak, or break, the vendors' protocols.

#[cfg(test)]
mod adapters;
#[cfg(test)]
mod ahead;
#[cfg(test)]
mod azure;
#[cfg(test)]
mod azure_listen;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod compatible;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod deepgram_flux;
#[cfg(test)]
mod elevenlabs;
#[cfg(test)]
mod google;
#[cfg(test)]
mod language_model;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod playht;
#[cfg(test)]
mod rime;
#[cfg(test)]
mod support;
#[cfg(test)]
mod synthesizer;
#[cfg(test)]
mod transcriber;
#[cfg(test)]
mod twilio;
