//! `switchboard accounts`, `tokens`, `secrets`, `numbers` and `queues`: the operator's commands. They write to the table
//! and the queues directly, because the API has no operations above one account.
//!
//! They work on the stack that runs on this machine and on a deployed one ([`target`]); [`output`] has their text
//! and their JSON.

mod limits;
pub(crate) mod output;
mod target;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use switchboard_aws::stacks::QueueName;
use switchboard_aws::table::TableError;
use switchboard_model::accounts::{Token, signing_secret};
use switchboard_model::ids::AccountId;
use switchboard_runtime::{now, random};

use crate::devstack::Addresses;
use crate::new_account;
use output::CommandOutput;
use target::{SelectedDeployment, Target};

/// Maximum length of a name, which must fit into a line.
const NAME_CHARS: usize = 64;

#[derive(Subcommand)]
pub(crate) enum AccountsCommand {
    /// Create an account, with a first token and a signing secret.
    ///
    /// Prints the account's id, the token that opens the API (`Authorization: Bearer sk_...`) and the secret that
    /// signs its webhooks. The token is shown only this once: the table has its hash.
    Create {
        /// The account's name, for people.
        #[arg(long, value_parser = name)]
        name: String,
        #[command(flatten)]
        deployment: Target,
    },
    /// List the accounts, oldest first.
    List {
        #[command(flatten)]
        deployment: Target,
    },
    /// Show the limits of an account, or change them.
    ///
    /// Limits that are not named stay as they are. A change takes effect with the next request and the next call.
    Limits {
        #[command(flatten)]
        limits: limits::LimitChanges,
        #[command(flatten)]
        account: AccountSelection,
    },
}

#[derive(Subcommand)]
pub(crate) enum TokensCommand {
    /// Create another token for an account.
    ///
    /// The token is shown only this once: the table has its hash.
    Create {
        /// The token's name: the person or program that uses it.
        #[arg(long, value_parser = name)]
        name: String,
        #[command(flatten)]
        account: AccountSelection,
    },
    /// List the tokens of an account, oldest first: their ids, names and last four characters.
    List {
        #[command(flatten)]
        account: AccountSelection,
    },
    /// Revoke a token: from now on requests with it are answered with 401.
    Revoke {
        /// The token's id, as `tokens list` shows it, or the token itself.
        token: String,
        #[command(flatten)]
        account: AccountSelection,
    },
}

#[derive(Subcommand)]
pub(crate) enum SecretsCommand {
    /// Show the secret that signs the account's webhooks, and the one it replaced while that still signs.
    Show {
        #[command(flatten)]
        account: AccountSelection,
    },
    /// Replace the secret that signs the account's webhooks.
    ///
    /// For 24 hours every webhook is signed with both, so that receivers can change over without missing any. After
    /// several rotations within that time only the last two secrets sign.
    Rotate {
        #[command(flatten)]
        account: AccountSelection,
    },
}

#[derive(Subcommand)]
pub(crate) enum NumbersCommand {
    /// List the pool: numbers that an account deleted without a release.
    ///
    /// The carrier bills them. `GET /phone_numbers/buy` shows them first, and the next purchase that one of them fits takes
    /// it. To release one, buy it and delete it with `release_phone_number=true`.
    Pool {
        #[command(flatten)]
        deployment: Target,
    },
}

#[derive(Subcommand)]
pub(crate) enum QueuesCommand {
    /// Move the messages of a dead-letter queue back to its queue, after the cause of their failure is gone.
    ///
    /// A delivery that was given up after all its attempts is not in that queue: request it again with
    /// `POST /conversations/{id}/events/{event_id}/redeliver`.
    Redrive {
        /// The queue.
        queue: RedrivenQueue,
        #[command(flatten)]
        deployment: Target,
    },
}

/// A queue that can be redriven. The dead letters of the relay need no redrive: the sweeper finds what they hold in the
/// table.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum RedrivenQueue {
    /// Calls to place.
    Calls,
    /// Webhook attempts.
    Deliveries,
}

impl From<RedrivenQueue> for QueueName {
    fn from(queue: RedrivenQueue) -> Self {
        match queue {
            RedrivenQueue::Calls => Self::Calls,
            RedrivenQueue::Deliveries => Self::Deliveries,
        }
    }
}

/// Selects an account of a deployment.
#[derive(clap::Args)]
pub(crate) struct AccountSelection {
    /// The account [default: that of `local.json` on this machine; the only one of a deployed stack].
    #[arg(long, value_name = "ACCOUNT_ID")]
    account: Option<AccountId>,
    #[command(flatten)]
    deployment: Target,
}

pub(crate) enum Command {
    Accounts(AccountsCommand),
    Tokens(TokensCommand),
    Secrets(SecretsCommand),
    Queues(QueuesCommand),
    Numbers(NumbersCommand),
}

/// Runs a command, and prints its output. `state` is the state directory, if one was named.
///
/// # Errors
///
/// The command failed; the error says what to do next.
pub(crate) fn run(command: Command, state: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (report, json) = runtime.block_on(Box::pin(carry_out(command, state)))?;
    let mut stdout = std::io::stdout();
    if json {
        writeln!(stdout, "{:#}", report.json)?;
    } else {
        write!(stdout, "{}", report.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the output, and whether to print it as JSON.
async fn carry_out(command: Command, state: Option<PathBuf>) -> anyhow::Result<(CommandOutput, bool)> {
    let (account, deployment) = match &command {
        Command::Accounts(
            AccountsCommand::Create { deployment, .. } | AccountsCommand::List { deployment },
        )
        | Command::Queues(QueuesCommand::Redrive { deployment, .. })
        | Command::Numbers(NumbersCommand::Pool { deployment }) => (None, deployment),
        Command::Accounts(AccountsCommand::Limits { account, .. })
        | Command::Tokens(
            TokensCommand::Create { account, .. }
            | TokensCommand::List { account }
            | TokensCommand::Revoke { account, .. },
        )
        | Command::Secrets(SecretsCommand::Show { account } | SecretsCommand::Rotate { account }) => {
            (account.account, &account.deployment)
        }
    };
    let json = deployment.json;
    let selected = Box::pin(deployment.find(state)).await?;
    let report = match command {
        Command::Accounts(command) => accounts(command, &selected, account).await,
        Command::Tokens(command) => tokens(command, &selected, account).await,
        Command::Secrets(command) => secrets(command, &selected, account).await,
        Command::Queues(QueuesCommand::Redrive { queue, .. }) => {
            selected.redrive(queue.into()).await.map(CommandOutput::redriven)
        }
        Command::Numbers(NumbersCommand::Pool { .. }) => {
            let pooled = selected.table.pooled_numbers().await;
            pooled.map(|pooled| CommandOutput::pooled_numbers(&pooled)).map_err(Into::into)
        }
    };
    Ok((report.map_err(|error| selected.explain(error))?, json))
}

async fn accounts(
    command: AccountsCommand,
    selected: &SelectedDeployment,
    account: Option<AccountId>,
) -> anyhow::Result<CommandOutput> {
    let SelectedDeployment { table, .. } = selected;
    match command {
        AccountsCommand::Create { name, .. } => {
            let (account, token) = new_account::create(table, &name).await?;
            Ok(CommandOutput::created(&account, &token))
        }
        AccountsCommand::List { .. } => Ok(CommandOutput::accounts(&table.accounts().await?)),
        AccountsCommand::Limits { limits, .. } => {
            let account = selected.account(account).await?;
            Ok(limits::change(table, account, limits).await?)
        }
    }
}

async fn tokens(
    command: TokensCommand,
    selected: &SelectedDeployment,
    account: Option<AccountId>,
) -> anyhow::Result<CommandOutput> {
    let SelectedDeployment { table, .. } = selected;
    let account = selected.account(account).await?.id;
    match command {
        TokensCommand::Create { name, .. } => {
            let token = Token::new(random());
            let issued = table.create_token(account, &token, name, now()).await?;
            Ok(CommandOutput::new_token(account, &issued, &token))
        }
        TokensCommand::List { .. } => Ok(CommandOutput::tokens(&table.tokens(account).await?)),
        TokensCommand::Revoke { token, .. } => {
            let mut tokens = table.tokens(account).await?;
            let wanted = Token::parse(&token).map_or(token, |token| output::token_id(&token.sha256()));
            let at = tokens.iter().position(|token| output::token_id(&token.sha256) == wanted);
            let at = at.with_context(|| {
                format!("account {account} has no such token; `switchboard tokens list` shows those it has")
            })?;
            let revoked = tokens.swap_remove(at);
            if !table.revoke_token(account, &revoked.sha256).await? {
                bail!("another command has just revoked this token");
            }
            Ok(CommandOutput::revoked(&revoked, tokens.len()))
        }
    }
}

async fn secrets(
    command: SecretsCommand,
    selected: &SelectedDeployment,
    account: Option<AccountId>,
) -> anyhow::Result<CommandOutput> {
    let account = selected.account(account).await?;
    let at = now();
    match command {
        SecretsCommand::Show { .. } => Ok(CommandOutput::secrets(&account, at)),
        SecretsCommand::Rotate { .. } => {
            match selected.table.rotate_signing_secret(account.id, signing_secret(random()), at).await {
                Ok(Some(account)) => Ok(CommandOutput::secrets(&account, at)),
                Ok(None) => bail!("account {} has just been deleted", account.id),
                Err(TableError::Conflict) => bail!(
                    "another command has just rotated this secret; `switchboard secrets show` shows the new one"
                ),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Reads the signing secret of the local stack's account. `state` is the state directory, if one was named.
///
/// # Errors
///
/// No local stack runs; the error says what to do.
pub(crate) async fn local_secret(state: Option<PathBuf>) -> anyhow::Result<String> {
    let selected = target::local(&target::running(state, "give the secret with `--secret whsec_...`")?)?;
    let account = selected.account(None).await.map_err(|error| selected.explain(error))?;
    Ok(account.signing_secret)
}

/// Finds the local stack that runs on a state directory, if one was named.
///
/// # Errors
///
/// No local stack runs; the error says how to start one.
pub(crate) fn local_stack(state: Option<PathBuf>) -> anyhow::Result<Addresses> {
    target::running(state, "ring a number of a deployed stack with a telephone")
}

/// Reads a name that fits into a line of a list.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("a name has at least one character".to_owned()),
        1..=NAME_CHARS if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        1..=NAME_CHARS => Err("a name has no control characters".to_owned()),
        _ => Err(format!("a name has at most {NAME_CHARS} characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_is_one_line_of_reasonable_length() {
        assert_eq!(name(" Corner bakery "), Ok("Corner bakery".to_owned()));
        assert_eq!(name(&"é".repeat(64)), Ok("é".repeat(64)));
        for bad in ["", "  ", "a\nb", "\u{1b}[31m", &"a".repeat(65)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
