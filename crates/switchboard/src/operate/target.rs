//! Finds the deployment and the account that a command works on.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use switchboard_aws::sealing::Sealer;
use switchboard_aws::stacks::{self, QueueName, QueueUrls, StackError};
use switchboard_aws::table::{Table, TableError};
use switchboard_aws::{SdkConfig, ServiceError, queue};
use switchboard_model::accounts::{Account, ListedAccount};
use switchboard_model::ids::AccountId;

use crate::devstack::{self, Addresses};

/// The advice for errors of AWS.
const CREDENTIALS: &str = "Check the AWS credentials and the region (AWS_PROFILE, AWS_REGION, or what the AWS \
                           command line uses; after `aws sso login`, first run \
                           `eval \"$(aws configure export-credentials --format env)\"`), and that they allow \
                           cloudformation:DescribeStacks, reading and writing the stack's table, and for `queues` \
                           sqs:ReceiveMessage, sqs:SendMessage and sqs:DeleteMessage on its queues.";

/// Selects a deployment.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// A deployed CloudFormation stack, reached with the AWS credentials and region of the environment
    /// [default: the stack that runs on this machine].
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// A deployment that was found.
pub(super) struct SelectedDeployment {
    pub(super) table: Table,
    /// The account to use if none is named; `None`: the only account of the deployment.
    default: Option<AccountId>,
    /// The name of its stack.
    stack: String,
    config: SdkConfig,
    /// The advice for an error of the table or a queue.
    advice: String,
}

impl Target {
    /// Finds the deployment. `state` is the state directory of the local stack, if one was named.
    ///
    /// # Errors
    ///
    /// It does not exist; the error says what to do.
    pub(super) async fn find(&self, state: Option<PathBuf>) -> anyhow::Result<SelectedDeployment> {
        match &self.stack {
            Some(stack) => deployed(stack).await,
            None => local(&running(state, "name a deployed stack with `--stack NAME`")?),
        }
    }
}

/// Finds the local stack that runs on a state directory.
///
/// # Errors
///
/// No stack runs; the error says how to start one, and offers the alternative `or`.
pub(super) fn running(state: Option<PathBuf>, or: &str) -> anyhow::Result<Addresses> {
    let state = match state {
        Some(state) => state,
        None => devstack::workspace()?.join(".switchboard"),
    };
    Addresses::of_running(&state)?.with_context(|| {
        format!(
            "no local stack runs on {}. Start one (`switchboard`, or `cargo run` in the checkout) and leave it \
             running, name the directory of another with `--state DIR`, or {or}.",
            state.display()
        )
    })
}

/// Opens the table of a local stack.
///
/// # Errors
///
/// `local.json` names no valid account.
pub(super) fn local(addresses: &Addresses) -> anyhow::Result<SelectedDeployment> {
    let Addresses { emulator_url, table_name, account_id, .. } = addresses;
    Ok(SelectedDeployment {
        table: devstack::table(emulator_url, table_name),
        stack: devstack::STACK.to_owned(),
        config: devstack::emulator_config(emulator_url),
        default: Some(account_id.parse().context("reading the account in local.json")?),
        advice: format!(
            "The local stack at {emulator_url} does not respond as it should; stop it (Ctrl-C where it runs) and \
             start it again."
        ),
    })
}

async fn deployed(stack: &str) -> anyhow::Result<SelectedDeployment> {
    let config = switchboard_aws::sdk_config().await;
    let Some(region) = config.region() else { bail!("no AWS region is set. {CREDENTIALS}") };
    let advice = format!("This was about the stack {stack} in {region}. {CREDENTIALS}");
    let explain = |error| match error {
        StackError::NotFound => anyhow!(
            "there is no stack named {stack} in {region} in this AWS account. `aws cloudformation list-stacks` lists \
             the existing ones; another region is chosen with AWS_REGION, another account with AWS_PROFILE."
        ),
        StackError::NoOutput(output) => anyhow!(
            "the stack {stack} has no output {output}: either it was not created from Switchboard's template.yaml, \
             or it is not complete yet. Deploy it with `sam deploy` and try again."
        ),
        StackError::Service(error) => anyhow!("{error}. {advice}"),
    };
    let (table, key) = stacks::table_of(&config, stack).await.map_err(explain)?;
    Ok(SelectedDeployment {
        table: Table::new(&config, table).sealing(Sealer::new(&config, key)),
        default: None,
        stack: stack.to_owned(),
        config,
        advice,
    })
}

impl SelectedDeployment {
    /// Reads the account that was named, or the default one.
    ///
    /// # Errors
    ///
    /// It does not exist, or none is named and there are several.
    pub(super) async fn account(&self, named: Option<AccountId>) -> anyhow::Result<Account> {
        let id = match named.or(self.default) {
            Some(id) => id,
            None => only(&self.table.accounts().await?)?,
        };
        let account = self.table.account(id).await?;
        account.with_context(|| {
            format!("there is no account {id} here; `switchboard accounts list` shows those there are")
        })
    }

    /// Moves the messages of a dead-letter queue back to its queue, and returns their number.
    ///
    /// # Errors
    ///
    /// The deployment has no such queue, or it does not respond.
    pub(super) async fn redrive(&self, queue: QueueName) -> anyhow::Result<usize> {
        let QueueUrls { queue, dead_letters } = stacks::queue_of(&self.config, &self.stack, queue).await?;
        Ok(queue::redrive(&self.config, &dead_letters, &queue).await?)
    }

    /// Adds the advice to an error of the table or a queue.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if error.is::<TableError>() || error.is::<ServiceError>() || error.is::<StackError>() {
            anyhow!("{error:#}. {}", self.advice)
        } else {
            error
        }
    }
}

/// The only account of a deployment.
fn only(accounts: &[ListedAccount]) -> anyhow::Result<AccountId> {
    match accounts {
        [account] => Ok(account.id),
        [] => bail!(
            "there is no account yet; create one with `switchboard accounts create --name NAME` (and the same \
             `--stack`)"
        ),
        _ => bail!(
            "there are {} accounts; choose one with `--account ID` (`switchboard accounts list` shows them)",
            accounts.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::accounts::ListedAccount;
    use switchboard_model::ids::AccountId;
    use switchboard_model::time::Timestamp;

    use super::{only, running};

    #[test]
    fn one_of_several_accounts_must_be_named() {
        let account = |number| ListedAccount {
            id: AccountId::new(Timestamp::from_millis(0), number),
            name: "Bakery".to_owned(),
            created_at: Timestamp::from_millis(0),
        };
        assert_eq!(only(&[account(1)]).unwrap(), account(1).id);
        assert!(only(&[]).unwrap_err().to_string().contains("accounts create"));
        assert!(only(&[account(1), account(2)]).unwrap_err().to_string().contains("--account"));
    }

    #[test]
    fn without_a_running_stack_the_error_says_how_to_start_one() {
        let nothing = tempfile::tempdir().unwrap();
        let error = running(Some(nothing.path().to_owned()), "do this").unwrap_err().to_string();
        assert!(error.contains("cargo run") && error.ends_with(", or do this."), "{error}");
    }
}
