//! Who serves a call, and with whose keys: the customer's own where the agent names a credential, else the
//! deployment's. A credential that cannot be had is no reason to use the deployment's key.

use std::time::Duration;

use anyhow::{Context, anyhow};
use switchboard_model::{
    agents::AgentConfig,
    credentials::OpenCredential,
    ids::{AccountId, CredentialId},
    substitutions::{self, Serving},
};
use switchboard_providers::{Providers, language_models, voices};
use tokio::time::timeout;

use crate::{transcriber::CallTranscriber, worker::Worker};

/// How long the keys may take: reading and opening one takes some 20 ms, and the caller hears nothing.
const WAIT: Duration = Duration::from_secs(5);

/// Who serves a call. Each role has its keys: two roles may be served by one vendor with different ones.
pub(crate) struct CallProviders {
    pub(crate) serving: Serving,
    pub(crate) language_model: Providers,
    pub(crate) transcriber: Providers,
    pub(crate) voice: Providers,
}

impl CallProviders {
    /// Reads and opens the credentials that the agent names for those who serve it.
    ///
    /// # Errors
    /// One of them was deleted, or cannot be opened or used now.
    pub(crate) async fn load(
        worker: &Worker,
        account: AccountId,
        agent: &AgentConfig,
    ) -> anyhow::Result<Self> {
        let mut serving = substitutions::serving(agent);
        let opening = async {
            tokio::try_join!(
                open(worker, account, serving.language_model.settings().credential_id),
                open(worker, account, serving.transcriber.credential_id()),
                open(worker, account, serving.voice.credential_id()),
            )
        };
        let (model, transcriber, voice) =
            timeout(WAIT, opening).await.context("the credentials were not there in time")??;
        // On a server of the customer's own the models have the names that the customer gave them.
        if model.as_ref().is_some_and(|own| own.credential.base_url.is_some()) {
            serving.language_model = agent.language_model.clone();
        }
        let providers = |own: Option<OpenCredential>| match own {
            Some(own) => worker
                .providers
                .with_credential(&own, worker.sender.egress_policy())
                .with_context(|| own.credential.id.to_string()),
            None => Ok(worker.providers.clone()),
        };
        Ok(Self {
            serving,
            language_model: providers(model)?,
            transcriber: providers(transcriber)?,
            voice: providers(voice)?,
        })
    }

    /// Begins to connect the transcriber, and to open the connections that the model and the voice will be
    /// asked on.
    pub(crate) fn connect(&self, worker: &Worker) -> CallTranscriber {
        let (providers, model) = (self.language_model.clone(), self.serving.language_model.clone());
        worker.tasks.spawn(async move { language_models::connect(&providers, &model).await });
        let (providers, voice) = (self.voice.clone(), self.serving.voice.clone());
        worker.tasks.spawn(async move { voices::connect(&providers, &voice).await });
        CallTranscriber::open(self.transcriber.clone(), self.serving.transcriber.clone())
    }
}

async fn open(
    worker: &Worker,
    account: AccountId,
    id: Option<CredentialId>,
) -> anyhow::Result<Option<OpenCredential>> {
    let Some(id) = id else { return Ok(None) };
    let opened = worker.store.open_credential(&worker.sealer, account, id).await;
    opened.with_context(|| id.to_string())?.ok_or_else(|| anyhow!("{id} was deleted")).map(Some)
}
