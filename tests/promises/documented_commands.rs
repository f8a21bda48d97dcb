//! The commands of the README, run as printed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use harness::{Stack, share_machine, shared, switchboard, workspace};
use reqwest::Method;
use serde_json::{Value, json};

/// Time limit for a line of `listen`.
const LINE: Duration = Duration::from_mins(2);

/// The code blocks of the README that begin with this text.
fn block(beginning: &str) -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let mut found = blocks.map(|(block, _)| block).filter(|block| block.starts_with(beginning));
    let block = found.next().expect("the README has the command");
    assert_eq!(found.next(), None, "it has it once");
    block.to_owned()
}

/// Runs a shell command as a reader does who has pasted what `cargo run` prints.
fn run(stack: &Stack, command: &str) -> Value {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("API", stack.address("api_url"))
        .env("TOKEN", stack.address("token"))
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"))
}

/// `listen`, which ends with the test: the next run needs its port.
struct Listen(Child);

impl Drop for Listen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_the_readme_are_made_as_printed() {
    let _machine = share_machine().await;
    let stack = shared();
    let listen = switchboard(&["listen", "--state"])
        .arg(stack.state())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut listen = Listen(listen.unwrap());
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(listen.0.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let await_line = |text: &str| loop {
        let line = lines.recv_timeout(LINE).unwrap_or_else(|_| panic!("`listen` does not print {text}"));
        if line.contains(text) {
            return line;
        }
    };
    await_line("http://127.0.0.1:4242/");

    let called = run(stack, &block(r#"curl "$API/conversations/create_phone_call""#));
    assert_eq!(called["status"], "queued", "{called}");
    let ended = stack.ended(called["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(ended["ended_reason"], "agent_ended", "{ended}");
    let line = tokio::task::block_in_place(|| await_line("conversation:ended"));
    assert!(!line.contains("invalid"), "{line}");

    let agent = stack.send(Method::POST, "/agents", Some(harness::baker())).await.unwrap().body;
    let number = stack.address("from_number").replace('+', "%2B");
    let inbound = json!({ "inbound_agent_id": agent["id"] });
    let patched =
        stack.send(Method::PATCH, &format!("/phone_numbers/{number}"), Some(inbound)).await.unwrap();
    assert_eq!(patched.status, 200, "{}", patched.body);
    let commands = block("cargo run -- ring");
    let command = commands.lines().next().unwrap().split(" #").next().unwrap();
    let words: Vec<_> = command.split_whitespace().skip(3).collect();
    let rung = switchboard(&words).arg("--state").arg(stack.state()).output().unwrap();
    let shown = String::from_utf8_lossy(&rung.stdout).into_owned();
    assert!(rung.status.success(), "{shown}{}", String::from_utf8_lossy(&rung.stderr));
    let page = stack.send(Method::GET, "/conversations", None).await.unwrap().body;
    let is_it = |item: &&Value| item["type"] == "inbound_phone_call" && item["agent_id"] == agent["id"];
    assert!(page["items"].as_array().unwrap().iter().any(|item| is_it(&item)), "{page}");

    drop(listen);
    reader.join().unwrap();
}
