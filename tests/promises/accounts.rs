//! The command creates accounts, tokens and signing secrets on the local stack and on a deployed one. Their
//! signatures verify with the official package.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use harness::{Stack, shared, signal, switchboard};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::official_clients;

/// The output of a command on the shared stack, as JSON.
pub(crate) fn json_of(arguments: &[&str]) -> Value {
    json_on(shared(), arguments)
}

/// The output of a command on a stack, as JSON.
pub(crate) fn json_on(stack: &Stack, arguments: &[&str]) -> Value {
    printed(on(stack, arguments).arg("--json"))
}

fn on(stack: &Stack, arguments: &[&str]) -> Command {
    let mut command = switchboard(arguments);
    command.arg("--state").arg(stack.state());
    command
}

fn printed(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The error output of a command.
fn complaint(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[tokio::test]
async fn a_new_account_sees_only_its_own_until_its_token_is_revoked() {
    let stack = shared();
    let foreign = stack.call("+14155550152", json!({})).await.unwrap();
    let account = json_of(&["accounts", "create", "--name", "Corner bakery"]);
    let (id, token) = (text(&account, "account_id"), text(&account, "token"));
    assert!(text(&account, "signing_secret").starts_with("whsec_"));

    let get = async |token: &str, path: &str| stack.send_as(token, Method::GET, path, None).await.unwrap();
    let unknown = get(token, "/conversations/cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV").await;
    let others = get(token, &format!("/conversations/{foreign}")).await;
    assert_eq!(others.status, StatusCode::NOT_FOUND);
    assert_eq!(others.body, unknown.body);

    let second = json_of(&["tokens", "create", "--name", "ci", "--account", id]);
    let tokens = json_of(&["tokens", "list", "--account", id]);
    let names: Vec<&str> = tokens.as_array().unwrap().iter().map(|token| text(token, "name")).collect();
    assert_eq!(names, ["first", "ci"]);
    assert!(token.ends_with(text(&tokens[0], "last4")));
    assert!(!tokens.to_string().contains("sk_"), "a token cannot be shown again");

    let revoked = json_of(&["tokens", "revoke", text(&tokens[0], "id"), "--account", id]);
    assert_eq!(revoked["name"], "first");
    assert_eq!(get(token, "/conversations/cnv_1").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(text(&second, "token"), "/conversations/cnv_1").await.status, StatusCode::NOT_FOUND);
    // A token that leaked can be revoked by itself; twice is once too often.
    let leaked = ["tokens", "revoke", text(&second, "token"), "--account", id];
    assert_eq!(json_of(&leaked)["name"], "ci");
    assert_eq!(get(text(&second, "token"), "/conversations/cnv_1").await.status, StatusCode::UNAUTHORIZED);
    assert!(complaint(&mut on(stack, &leaked)).contains("tokens list"));
    stack.ended(&foreign).await.unwrap();
}

#[test]
fn a_rotated_secret_is_shown_beside_the_previous_one() {
    let account = json_of(&["accounts", "create", "--name", "Rotating"]);
    let (id, first) = (text(&account, "account_id"), text(&account, "signing_secret"));
    let shown = json_of(&["secrets", "show", "--account", id]);
    assert_eq!((text(&shown, "signing_secret"), &shown["previous_signing_secret"]), (first, &Value::Null));
    let rotated = json_of(&["secrets", "rotate", "--account", id]);
    assert_ne!(text(&rotated, "signing_secret"), first);
    assert_eq!(rotated["previous_signing_secret"]["secret"], first);
    assert_eq!(json_of(&["secrets", "show", "--account", id]), rotated);
    let again = json_of(&["secrets", "rotate", "--account", id]);
    assert_eq!(again["previous_signing_secret"]["secret"], rotated["signing_secret"], "the last two sign");
}

#[test]
fn the_local_account_is_the_default() {
    let stack = shared();
    let shown = json_of(&["secrets", "show"]);
    assert_eq!(shown["account_id"], stack.address("account_id"));
    assert_eq!(shown["signing_secret"], stack.address("webhook_secret"));
    let unknown = ["secrets", "show", "--account", "acc_01ARZ3NDEKTSV4RRFFQ69G5FAV"];
    assert!(complaint(&mut on(stack, &unknown)).contains("accounts list"));
}

#[test]
fn a_deployed_stack_is_found_by_its_name() {
    let stack = shared();
    // The emulator in the place of AWS: the way to it is the ordinary one, with credentials and region.
    let deployed = |name: &str| {
        let mut command = switchboard(&["accounts", "list", "--json", "--stack", name]);
        command
            .env("AWS_ENDPOINT_URL", stack.address("emulator_url"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
    };
    let accounts = printed(&mut deployed("switchboard"));
    let ids: Vec<&Value> = accounts.as_array().unwrap().iter().map(|account| &account["id"]).collect();
    assert!(ids.contains(&&json!(stack.address("account_id"))), "{accounts}");
    let complaint = complaint(&mut deployed("nothing"));
    assert!(complaint.contains("no stack named nothing"), "{complaint}");
}

/// `switchboard listen`, which ends with the test.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn listen_verifies_the_official_packages_signatures() {
    let stack = shared();
    let answers = stack.state().join("answers.json");
    std::fs::write(&answers, r#"{ "price": { "cake": 12 } }"#).unwrap();
    let mut command = on(stack, &["listen", "--port", "0", "--json"]);
    command.arg("--answers").arg(&answers).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listening = Listening(command.spawn().unwrap());
    let mut lines = BufReader::new(listening.0.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(listening.0.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    let url = first.trim().strip_prefix("Listening on ").unwrap();

    let printed = official_clients::check("webhooks_check.py", &[url, stack.address("webhook_secret")]);
    let sent: Value = serde_json::from_str(&printed).unwrap();
    let result = r#"{"result":{"cake":12}}"#;
    assert_eq!(
        sent["answers"],
        json!([[200, ""], [200, ""], [401, ""], [401, ""], [200, result], [200, ""]])
    );
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let event = next();
    assert_eq!((&event["signature"], &event["repeat"]), (&json!("verified"), &Value::Null));
    assert_eq!(event["payload"]["data"]["message"]["content"], "Goodbye!");
    let again = next();
    assert_eq!((&again["signature"], &again["repeat"]), (&json!("verified"), &json!("duplicate")));
    let changed = next();
    assert_eq!((&changed["signature"], &changed["status"]), (&json!("wrong"), &json!(401)));
    assert_eq!(next()["signature"], "missing");
    let call = next();
    assert_eq!(
        (&call["signature"], &call["answer"]),
        (&json!("verified"), &json!({ "result": { "cake": 12 } }))
    );
    let get = next();
    assert_eq!((&get["signature"], &get["method"]), (&json!("verified"), &json!("GET")));
    assert_eq!(get["payload"]["data"]["duration"], "12");

    signal("-INT", listening.0.id());
    assert!(listening.0.wait().unwrap().success(), "Ctrl-C is how listening ends well");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("6 webhooks, 1 of them repeated, 2 not verified"), "{rest}");
}
