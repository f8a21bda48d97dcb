//! The adapters against servers on real sockets that speak, or break, the vendors' protocols.

#[cfg(test)]
mod adapters;
#[cfg(test)]
mod ahead;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod language_model;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod synthesizer;
#[cfg(test)]
mod transcriber;
#[cfg(test)]
mod twilio;
