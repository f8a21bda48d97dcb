//! The account of local mode and its telephone number, without which nobody could call anything.
//!
//! Done by `switchboard seed` in a process of its own: like everything deployed, the table's client is
//! pointed at the emulator by the environment alone, and ours is not the place for that.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws::store::Store;
use aws::system::{now, random, random_u128};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::accounts::{Account, Token};
use domain::ids::{AccountId, PhoneNumberId};
use domain::phone_numbers::E164;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{emulator, guard};

/// The number that the account owns and calls from.
const FROM_NUMBER: &str = "+14155550199";

/// Two writes to a local table, each with its own time-out.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of the hidden command `seed`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The table.
    #[arg(long)]
    table: String,
}

/// What a client needs to use the API. Not `Debug`: it holds secrets.
#[derive(Serialize, Deserialize)]
pub(crate) struct Seeded {
    /// `acc_...`.
    pub(crate) account_id: String,
    /// The bearer token, shown once: the table has only its hash.
    pub(crate) token: String,
    /// The number the account may call from (E.164).
    pub(crate) from_number: String,
    /// The secret that webhooks are signed with.
    pub(crate) webhook_secret: String,
}

/// Makes the account, in a process of its own.
///
/// # Errors
///
/// If the table does not take it.
pub(crate) async fn seed(emulator_url: &str, table: &str) -> anyhow::Result<Seeded> {
    let mut command = Command::new(guard::SELF);
    command.args(["seed", "--table", table]).env_clear().envs(emulator::aws_environment(emulator_url));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await.context("storing the account")??;
    if !output.status.success() {
        bail!("the account could not be stored: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("reading the account")
}

/// Stores an account with a fresh token and its number in the table.
///
/// # Errors
///
/// If the table does not take them.
pub(crate) async fn store(args: Args) -> anyhow::Result<Seeded> {
    let store = Store::new(&aws::sdk_config().await, args.table);
    let created_at = now();
    let account = Account {
        id: AccountId::new(created_at, random_u128()),
        name: "local".to_owned(),
        created_at,
        signing_secret: format!("whsec_{}", STANDARD.encode(random::<32>())),
    };
    let token = Token::new(random());
    let number: E164 = FROM_NUMBER.parse().context("reading the number")?;
    store.create_account(&account, &token).await?;
    let number_id = PhoneNumberId::new(created_at, random_u128());
    store.add_phone_number(account.id, number_id, &number, created_at).await?;
    Ok(Seeded {
        account_id: account.id.to_string(),
        token: token.reveal().to_owned(),
        from_number: FROM_NUMBER.to_owned(),
        webhook_secret: account.signing_secret,
    })
}
