//! The output of the commands, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use switchboard_model::accounts::{Account, IssuedToken, ListedAccount, Token};
use switchboard_model::ids::AccountId;
use switchboard_model::phone_numbers::PooledNumber;
use switchboard_model::time::Timestamp;

/// Digits of a token's hash that tell the tokens of an account apart.
const TOKEN_ID_DIGITS: usize = 12;

/// The output of a command.
pub(super) struct CommandOutput {
    pub(super) text: String,
    /// Everything in the text, and more.
    pub(super) json: Value,
}

/// The id of a token in commands: the beginning of its hash.
pub(super) fn token_id(sha256: &str) -> String {
    sha256.chars().take(TOKEN_ID_DIGITS).collect()
}

impl CommandOutput {
    pub(super) fn created(account: &Account, token: &Token) -> Self {
        let Account { id, name, created_at, signing_secret, .. } = account;
        let token = token.reveal();
        Self {
            text: format!(
                "Account         {id}\n\
                 Name            {name}\n\
                 Token           {token}\n\
                 Signing secret  {signing_secret}\n\n\
                 Store the token now: it is not shown again. `switchboard tokens create` makes more, and\n\
                 `switchboard secrets show` shows the signing secret.\n"
            ),
            json: json!({
                "account_id": id, "name": name, "created_at": created_at,
                "token": token, "signing_secret": signing_secret,
            }),
        }
    }

    pub(super) fn accounts(accounts: &[ListedAccount]) -> Self {
        let rows = accounts.iter().map(|ListedAccount { id, name, created_at }| {
            [id.to_string(), name.clone(), created_at.to_string()]
        });
        let none = "There is no account yet; `switchboard accounts create --name NAME` makes one.\n";
        Self { text: table(["ACCOUNT", "NAME", "CREATED"], rows, none), json: json!(accounts) }
    }

    pub(super) fn pooled_numbers(pooled: &[PooledNumber]) -> Self {
        let rows = pooled.iter().map(|PooledNumber { phone_number, sid, pooled_at }| {
            [phone_number.to_string(), sid.clone(), pooled_at.to_string()]
        });
        let none = "Every number of this deployment belongs to an account.\n";
        Self { text: table(["NUMBER", "CARRIER'S ID", "SINCE"], rows, none), json: json!(pooled) }
    }

    pub(super) fn new_token(account: AccountId, issued: &IssuedToken, token: &Token) -> Self {
        let (id, token) = (token_id(&issued.sha256), token.reveal());
        let mut json = listed(issued);
        json["account_id"] = json!(account);
        json["token"] = json!(token);
        Self {
            text: format!(
                "Token    {token}\nId       {id}\nAccount  {account}\n\nStore the token now: it is not shown again.\n"
            ),
            json,
        }
    }

    pub(super) fn tokens(tokens: &[IssuedToken]) -> Self {
        let rows = tokens.iter().map(|token| {
            [token_id(&token.sha256), token.name.clone(), shown(token), token.created_at.to_string()]
        });
        Self {
            text: table(["ID", "NAME", "TOKEN", "CREATED"], rows, NO_TOKEN),
            json: tokens.iter().map(listed).collect(),
        }
    }

    pub(super) fn revoked(token: &IssuedToken, left: usize) -> Self {
        let mut text =
            format!("Revoked {} ({}). Requests with it are answered with 401.\n", shown(token), token.name);
        if left == 0 {
            text.push_str(NO_TOKEN);
        }
        Self { text, json: listed(token) }
    }

    pub(super) fn redriven(moved: usize) -> Self {
        let text = match moved {
            0 => "The dead-letter queue is empty.\n".to_owned(),
            1 => "Moved 1 message.\n".to_owned(),
            _ => format!("Moved {moved} messages.\n"),
        };
        Self { text, json: json!({ "moved": moved }) }
    }

    pub(super) fn secrets(account: &Account, now: Timestamp) -> Self {
        let Account { id, signing_secret, previous_signing_secret, .. } = account;
        let previous = previous_signing_secret.as_ref().filter(|previous| now < previous.until);
        let mut text = format!("Account         {id}\nSigning secret  {signing_secret}\n");
        if let Some(previous) = previous {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "Previous        {}\n\nUntil {} every webhook is signed with both.\n",
                previous.secret, previous.until
            );
        }
        Self {
            text,
            json: json!({
                "account_id": id, "signing_secret": signing_secret, "previous_signing_secret": previous,
            }),
        }
    }
}

const NO_TOKEN: &str = "The account has no token; `switchboard tokens create --name NAME` makes one.\n";

/// A token without the part that opens the API.
fn shown(token: &IssuedToken) -> String {
    format!("sk_...{}", token.last4)
}

fn listed(token: &IssuedToken) -> Value {
    let IssuedToken { sha256, name, last4, created_at } = token;
    json!({ "id": token_id(sha256), "name": name, "last4": last4, "created_at": created_at })
}

/// Aligned columns under their titles; `none` if there is no row.
pub(crate) fn table<const N: usize>(
    titles: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    none: &str,
) -> String {
    let mut lines = vec![titles.map(str::to_owned)];
    lines.extend(rows);
    if lines.len() == 1 {
        return none.to_owned();
    }
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use switchboard_model::accounts::{Account, ListedAccount, Token};
    use switchboard_model::ids::AccountId;
    use switchboard_model::time::Timestamp;

    use super::{CommandOutput, token_id};

    fn account() -> Account {
        let id: AccountId = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F".parse().unwrap();
        Account::new(id, "Corner bakery".to_owned(), Timestamp::from_millis(0), "whsec_AAAA".to_owned())
    }

    #[test]
    fn a_new_account_shows_its_token_and_its_secret() {
        let token = Token::new([3; 32]);
        let report = CommandOutput::created(&account(), &token);
        for shown in ["acc_01JD8Q2M7X4T6R9V1B3C5D7E9F", token.reveal(), "whsec_AAAA", "Corner bakery"] {
            assert!(report.text.contains(shown), "{shown}");
        }
        assert_eq!(report.json["token"], token.reveal());
    }

    #[test]
    fn lists_are_aligned() {
        let Account { id, name, created_at, .. } = account();
        let long = ListedAccount { id, name, created_at };
        let short = ListedAccount { name: "Bé".to_owned(), ..long.clone() };
        assert_eq!(
            CommandOutput::accounts(&[long, short]).text,
            "ACCOUNT                         NAME           CREATED\n\
             acc_01JD8Q2M7X4T6R9V1B3C5D7E9F  Corner bakery  1970-01-01T00:00:00.000Z\n\
             acc_01JD8Q2M7X4T6R9V1B3C5D7E9F  Bé             1970-01-01T00:00:00.000Z\n"
        );
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(CommandOutput::accounts(&[]).text.contains("accounts create"));
        assert_eq!(CommandOutput::accounts(&[]).json, serde_json::json!([]));
    }

    #[test]
    fn a_listed_token_can_be_recognised_but_not_used() {
        let token = Token::new([4; 32]);
        let issued = token.issued("ci".to_owned(), Timestamp::from_millis(0));
        let report = CommandOutput::tokens(std::slice::from_ref(&issued));
        assert!(report.text.contains(&format!("{}  ci    sk_...{}", token_id(&issued.sha256), issued.last4)));
        let everything = format!("{}{}", report.text, report.json);
        assert!(!everything.contains(token.reveal()) && !everything.contains(&token.sha256()));
    }

    #[test]
    fn revoking_the_last_token_says_so() {
        let issued = Token::new([4; 32]).issued("ci".to_owned(), Timestamp::from_millis(0));
        assert!(!CommandOutput::revoked(&issued, 1).text.contains("has no token"));
        assert!(CommandOutput::revoked(&issued, 0).text.contains("tokens create"));
    }

    #[test]
    fn the_previous_secret_is_shown_while_it_signs() {
        let rotated = account().rotate("whsec_BBBB".to_owned(), Timestamp::from_millis(0));
        let day = 24 * 3_600_000;
        let report = CommandOutput::secrets(&rotated, Timestamp::from_millis(day - 1));
        assert!(report.text.contains("Previous        whsec_AAAA\n"), "{}", report.text);
        assert!(report.text.contains("Until 1970-01-02T00:00:00.000Z "), "{}", report.text);
        assert_eq!(report.json["previous_signing_secret"]["secret"], "whsec_AAAA");
        let report = CommandOutput::secrets(&rotated, Timestamp::from_millis(day));
        assert_eq!(report.text.lines().count(), 2);
        assert!(report.json["previous_signing_secret"].is_null());
    }
}
