//! The account of local mode and its telephone number, without which nobody could call anything.

use anyhow::Context as _;
use switchboard_model::accounts::Limits;
use switchboard_model::ids::PhoneNumberId;
use switchboard_model::phone_numbers::{E164, PhoneNumber};
use switchboard_runtime::{now, random_u128};
use switchboard_sandbox::Sandbox;

use super::emulator;
use crate::new_account;

/// The number that the account owns and calls from.
const FROM_NUMBER: &str = "+14155550199";

/// Nobody else uses this machine, and the sandbox's carrier takes any number of calls.
fn limits(live_calls: u32) -> Limits {
    Limits { live_calls, calls_per_second: 100, requests_per_second: 1_000, ..Limits::default() }
}

/// What a client needs to use the API. Not `Debug`: it holds secrets.
pub(crate) struct SeededAccount {
    /// `acc_...`.
    pub(crate) account_id: String,
    /// The bearer token, shown once: the table has only its hash.
    pub(crate) token: String,
    /// The number the account may call from (E.164).
    pub(crate) from_number: String,
    /// The secret that webhooks are signed with.
    pub(crate) webhook_secret: String,
}

/// Makes the account, and gives it its number, wired to the API at `api_url`.
///
/// # Errors
///
/// If the table does not take them, or the carrier does not know the number.
pub(crate) async fn seed(
    emulator_url: &str,
    table: &str,
    api_url: &str,
    sandbox: &Sandbox,
    live_calls: u32,
) -> anyhow::Result<SeededAccount> {
    let store = emulator::table(emulator_url, table);
    let (account, token) = new_account::create(&store, "local").await.context("storing the account")?;
    store.set_limits(account.id, &limits(live_calls)).await.context("storing the account's limits")?;
    let number: E164 = FROM_NUMBER.parse().context("reading the number")?;
    let base = format!("{api_url}/twilio/{}", account.id);
    let sid = sandbox.wire(FROM_NUMBER, &format!("{base}/inbound"), &format!("{base}/status"));
    let sid = sid.context("the carrier does not know the number")?;
    let id = PhoneNumberId::new(account.created_at, random_u128());
    let number = PhoneNumber::coming(id, account.id, number, None, now()).arrived(sid);
    store.add_phone_number(&number).await.context("storing the number")?;
    Ok(SeededAccount {
        account_id: account.id.to_string(),
        token: token.reveal().to_owned(),
        from_number: FROM_NUMBER.to_owned(),
        webhook_secret: account.signing_secret,
    })
}
