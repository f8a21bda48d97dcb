//! Schemathesis compares the API with `GET /openapi.json`, with every check.

use harness::{client, workspace};
use switchboard_model::accounts::Limits;
use tokio::process::Command;

use crate::world::{TOKEN, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_matches_the_document() {
    let world = World::new().await;
    // Web calls are created without being opened.
    let limits = Limits { inbound_calls: 10_000, requests_per_second: 1_000, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let url = world.serve().await;
    let described = workspace().join("tests/clients/openapi");
    let config = described.join("schemathesis.toml");
    let arguments =
        ["--seed", "1", "--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "10"];
    let output = Command::new(client("schemathesis"))
        // It writes its caches into its working directory.
        .current_dir(workspace().join("target"))
        .env("PYTHONPATH", &described)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--config-file")
        .arg(config)
        .args([
            "run",
            &format!("{url}/openapi.json"),
            "--no-color",
            "--workers",
            "1",
            "--generation-database",
            "none",
        ])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("Test cases:"), "{printed}");
}
