//! Creates an account. The local stack does so at its start, `switchboard accounts create` for an operator.

use switchboard_aws::table::{Table, TableError};
use switchboard_model::accounts::{Account, Token, signing_secret};
use switchboard_model::ids::AccountId;
use switchboard_runtime::{now, random, random_u128};

/// Stores a new account of this name, with the first token that opens it.
///
/// # Errors
///
/// The table refuses the write.
pub(crate) async fn create(table: &Table, name: &str) -> Result<(Account, Token), TableError> {
    let created_at = now();
    let id = AccountId::new(created_at, random_u128());
    let account = Account::new(id, name.to_owned(), created_at, signing_secret(random()));
    let token = Token::new(random());
    table.create_account(&account, &token).await?;
    Ok((account, token))
}
