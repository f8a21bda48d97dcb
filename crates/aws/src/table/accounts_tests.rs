//! Accounts, their tokens and their signing secrets in the table.

use switchboard_model::{
    accounts::{Account, IssuedToken, Limits, Token},
    ids::AccountId,
};

use super::{
    FIRST_TOKEN, Table, TableError, testing,
    tests::{account as new_id, at},
};

async fn stored(table: &Table, token: &Token) -> Account {
    let account = Account::new(new_id(), "Bakery".into(), at(0), "whsec_a".into());
    table.create_account(&account, token).await.unwrap();
    account
}

async fn names(table: &Table, account: AccountId) -> Vec<String> {
    table.tokens(account).await.unwrap().into_iter().map(|token| token.name).collect()
}

#[tokio::test]
async fn an_account_is_found_by_its_id_and_listed() {
    let table = testing::new_table().await;
    assert_eq!(table.accounts().await.unwrap(), []);
    let (first, second) =
        (stored(&table, &Token::new([1; 32])).await, stored(&table, &Token::new([2; 32])).await);
    assert_eq!(table.account(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(table.account(new_id()).await.unwrap(), None);
    let mut ids = [first.id, second.id];
    ids.sort();
    let listed: Vec<AccountId> =
        table.accounts().await.unwrap().into_iter().map(|account| account.id).collect();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_and_is_not_listed() {
    let table = testing::new_table().await;
    let (first, second) = (Token::new([1; 32]), Token::new([2; 32]));
    let account = stored(&table, &first).await.id;
    let issued = table.create_token(account, &second, "ci".into(), at(1)).await.unwrap();
    assert_eq!(names(&table, account).await, [FIRST_TOKEN, "ci"]);
    assert_eq!(table.tokens(account).await.unwrap()[1], issued);

    assert!(table.revoke_token(account, &first.sha256()).await.unwrap());
    assert_eq!(table.account_of_token(&first).await.unwrap(), None);
    assert_eq!(table.account_of_token(&second).await.unwrap(), Some(account));
    assert_eq!(names(&table, account).await, ["ci"]);
    assert!(!table.revoke_token(account, &first.sha256()).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn a_token_of_another_account_is_not_revoked() {
    let table = testing::new_table().await;
    let token = Token::new([1; 32]);
    let owner = stored(&table, &token).await.id;
    let stranger = stored(&table, &Token::new([2; 32])).await.id;
    assert!(!table.revoke_token(stranger, &token.sha256()).await.unwrap());
    assert_eq!(table.account_of_token(&token).await.unwrap(), Some(owner));
}

#[tokio::test]
async fn a_token_needs_an_account_and_is_stored_once() {
    let table = testing::new_table().await;
    let token = Token::new([1; 32]);
    let orphan = table.create_token(new_id(), &Token::new([9; 32]), "ci".into(), at(0)).await;
    assert!(matches!(orphan, Err(TableError::Conflict)), "{orphan:?}");
    assert_eq!(table.account_of_token(&Token::new([9; 32])).await.unwrap(), None);
    let account = stored(&table, &token).await.id;
    let again: Result<IssuedToken, _> = table.create_token(account, &token, "ci".into(), at(0)).await;
    assert!(matches!(again, Err(TableError::Conflict)), "{again:?}");
    assert_eq!(names(&table, account).await, [FIRST_TOKEN]);
}

#[tokio::test]
async fn a_rotation_changes_only_the_secrets() {
    let table = testing::new_table().await;
    let limits =
        Limits { live_calls: 3, destination_countries: Some(vec!["+44".into()]), ..Limits::default() };
    let account = Account { limits, ..Account::new(new_id(), "Bakery".into(), at(0), "whsec_a".into()) };
    table.create_account(&account, &Token::new([1; 32])).await.unwrap();
    let rotated = table.rotate_signing_secret(account.id, "whsec_b".into(), at(1)).await.unwrap().unwrap();
    assert_eq!(rotated, account.clone().rotate("whsec_b".into(), at(1)));
    assert_eq!(table.account(account.id).await.unwrap(), Some(rotated));
    let again = table.rotate_signing_secret(account.id, "whsec_c".into(), at(2)).await.unwrap().unwrap();
    assert_eq!(again.signing_secrets(at(2)).collect::<Vec<_>>(), ["whsec_c", "whsec_b"]);
    assert_eq!(table.rotate_signing_secret(new_id(), "whsec_d".into(), at(3)).await.unwrap(), None);
}

#[tokio::test]
async fn concurrent_rotations_replace_one_secret() {
    let table = testing::new_table().await;
    let account = stored(&table, &Token::new([1; 32])).await.id;
    let rotate = |secret: &str| table.rotate_signing_secret(account, secret.to_owned(), at(1));
    let (one, other) = tokio::join!(rotate("whsec_b"), rotate("whsec_c"));
    let after = table.account(account).await.unwrap().unwrap();
    match (one, other) {
        // In sequence, the second replaces the secret of the first.
        (Ok(_), Ok(_)) => assert_ne!(after.previous_signing_secret.unwrap().secret, "whsec_a"),
        (Ok(Some(won)), Err(TableError::Conflict)) | (Err(TableError::Conflict), Ok(Some(won))) => {
            assert_eq!(after, won);
            assert_eq!(after.previous_signing_secret.unwrap().secret, "whsec_a");
        }
        outcome => panic!("{outcome:?}"),
    }
}
