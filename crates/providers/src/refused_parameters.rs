//! The optional parameters that servers have refused, so that only the first request of a model pays for the refusal.
//!
//! One memory for the process: a call's model lives as long as its call. It forgets a model when it is full,
//! and everything when the process ends, which is how a server's update is noticed.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use reqwest::Url;

/// Maximum number of models that are remembered.
const MAX_MODELS: usize = 1_000;

static REFUSED: LazyLock<Mutex<HashMap<ServedModel, Vec<&'static str>>>> = LazyLock::new(Mutex::default);

/// A model at a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServedModel {
    base: Url,
    model: String,
}

impl ServedModel {
    pub(crate) fn new(base: &Url, model: &str) -> Self {
        Self { base: base.clone(), model: model.to_owned() }
    }
}

/// The parameters that the model's server has refused.
pub(crate) fn of(model: &ServedModel) -> Vec<&'static str> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned().unwrap_or_default()
}

/// Remembers the parameters that the model's server refuses.
pub(crate) fn remember(model: ServedModel, refused: &[&'static str]) {
    let mut known = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    // One customer's models must not make the others' be forgotten all at once.
    if known.len() >= MAX_MODELS
        && !known.contains_key(&model)
        && let Some(other) = known.keys().next().cloned()
    {
        known.remove(&other);
    }
    // Another call may have learnt of other parameters meanwhile.
    let known = known.entry(model).or_default();
    known.extend(refused.iter().filter(|name| !known.contains(name)).copied().collect::<Vec<_>>());
}
