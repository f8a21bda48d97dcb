//! `switchboard test --from-conversation ID`: writes the scenario of a conversation that was.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use switchboard_model::ids::ConversationId;

use crate::{api_client::ApiClient, devstack::Addresses};

#[derive(clap::Args)]
pub(crate) struct Export {
    /// Make no call: write the scenario of this conversation, which has ended, to a file.
    ///
    /// The caller says the stored words again, the model gives the same replies, and the heard words are the expected ones.
    #[arg(long, value_name = "ID", conflicts_with_all = ["files", "json"])]
    from_conversation: Option<ConversationId>,
    /// The API that has the conversation [default: that of the local stack that runs].
    #[arg(long, value_name = "URL", requires = "token", requires = "from_conversation")]
    url: Option<String>,
    /// A token of the conversation's account.
    #[arg(long, value_name = "TOKEN", requires = "url")]
    token: Option<String>,
    /// The new file [default: ID.json].
    #[arg(long, value_name = "FILE", requires = "from_conversation")]
    output: Option<PathBuf>,
}

impl Export {
    /// Whether a scenario is written, and no call is made.
    pub(crate) fn is_wanted(&self) -> bool {
        self.from_conversation.is_some()
    }

    /// Writes the file. `state` is the state directory of the local stack.
    ///
    /// # Errors
    ///
    /// The API has no such conversation, or it has not ended; or the file exists.
    pub(crate) async fn write(&self, state: &Path) -> anyhow::Result<()> {
        let id = self.from_conversation.context("no conversation is named")?;
        let client = match (&self.url, &self.token) {
            (Some(url), Some(token)) => ApiClient::of_api(url, token)?,
            _ => match Addresses::of_running(state)? {
                Some(addresses) => ApiClient::new(&addresses)?,
                None => bail!(
                    "no local stack runs on {}: name the API that has the conversation with `--url URL --token TOKEN`",
                    state.display()
                ),
            },
        };
        let scenario = client.scenario(&id.to_string()).await?;
        let path = self.output.clone().unwrap_or_else(|| PathBuf::from(format!("{id}.json")));
        let shown = path.display();
        let mut file = File::create_new(&path).with_context(|| format!("creating {shown}"))?;
        writeln!(file, "{scenario:#}").with_context(|| format!("writing {shown}"))?;
        writeln!(io::stdout(), "Written: {shown}\nRun it with `cargo run -- test {shown}`.")?;
        Ok(())
    }
}
