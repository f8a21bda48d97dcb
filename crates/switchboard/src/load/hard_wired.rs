//! The comparison of a load test: as many calls with an agent that does nothing but connect the carrier, the transcriber, the
//! model and the voice (`switchboard_sandbox::serve_hard_wired`), on the worker's core, with the same callers and vendors.
//!
//! The agent runs in a process of its own, so that its processor time is counted like the worker's.

use std::{io::Write as _, net::SocketAddr, process::Stdio};

use anyhow::Context as _;
use serde_json::{Value, json};
use switchboard_sandbox::{HardWiredVendors, Load, Measured};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use super::{
    PERSON, all_talk, measure,
    report::{Comparison, call_seconds},
    worker_process::WorkerProcess,
};
use crate::{
    devstack::{Addresses, guard},
    progress::Progress,
    tls::install_tls_provider,
};

/// Arguments of the hidden command `hard-wired`.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// The base URL of the transcriber and the voice.
    #[arg(long)]
    deepgram: String,
    /// The base URL of the model.
    #[arg(long)]
    openai: String,
}

/// Serves the agent on a free port, which it prints, until stdin ends.
pub(crate) fn serve(arguments: AgentArgs) -> anyhow::Result<()> {
    let AgentArgs { deepgram, openai } = arguments;
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        tokio::select! {
            served = switchboard_sandbox::serve_hard_wired(listener, HardWiredVendors { deepgram, openai }) => served,
            () = guard::end_of_stdin() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

/// Places the calls to a hard-wired agent, and measures them as those before.
pub(super) async fn compare(
    (calls, seconds): (u32, u32),
    addresses: &Addresses,
    load: &Load,
    worker: &WorkerProcess,
    progress: &Progress,
) -> anyhow::Result<Comparison> {
    load.restart();
    let (agent, listens_at) = start(addresses, worker).await?;
    let process = WorkerProcess::new(agent.id().context("the hard-wired agent has ended")?);
    place(addresses, calls, listens_at, progress).await?;
    let talking = all_talk(load, calls, progress).await;
    let window = measure(load, &process, seconds, progress).await?;
    drop(agent);
    let Measured { frame_lateness, underruns, answers, .. } = load.measured();
    Ok(Comparison {
        cpu_ms_per_call_second: window.cpu.as_secs_f64() * 1000.0 / call_seconds(window.seconds, talking),
        talking,
        frame_lateness,
        underruns,
        answers,
    })
}

/// Starts the agent on the worker's core. Dropping it ends it.
async fn start(addresses: &Addresses, worker: &WorkerProcess) -> anyhow::Result<(Child, SocketAddr)> {
    let url = |name| addresses.provider_url(name).with_context(|| format!("there is no {name}"));
    let mut command = Command::new(guard::SELF);
    command.arg0("switchboard").args([
        "hard-wired",
        "--deepgram",
        url("deepgram")?,
        "--openai",
        url("openai")?,
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut agent = worker.on_its_cores(|| command.spawn().context("starting the hard-wired agent"))?;
    let output = agent.stdout.take().context("no output")?;
    let line = BufReader::new(output).lines().next_line().await?.context("the hard-wired agent has ended")?;
    Ok((agent, line.parse()?))
}

/// Places the calls at the carrier itself.
async fn place(
    addresses: &Addresses,
    calls: u32,
    agent: SocketAddr,
    progress: &Progress,
) -> anyhow::Result<()> {
    let step = progress.step("placing calls to a hard-wired agent");
    let carrier = &addresses.customers_carrier;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/2010-04-01/Accounts/{}/Calls.json", addresses.carrier_url()?, carrier.account_sid);
    let document = format!(r#"<Response><Connect><Stream url="ws://{agent}/"/></Connect></Response>"#);
    let fields = [("To", PERSON), ("From", &carrier.phone_number), ("Twiml", &document)];
    for number in 1..=calls {
        let request = client.post(&url).basic_auth(&carrier.account_sid, Some(&carrier.auth_token));
        request.form(&fields).send().await?.error_for_status()?;
        step.note(&format!("{number} of {calls}"));
    }
    step.done(&calls.to_string());
    Ok(())
}

impl Comparison {
    /// For the report.
    pub(super) fn json(&self, worker_cpu: f64) -> Value {
        json!({
            "cpu_ms_per_call_second": self.cpu_ms_per_call_second,
            "worker_times_this": worker_cpu / self.cpu_ms_per_call_second,
            "talking": self.talking,
            "frame_lateness_p99_ms": self.frame_lateness.map(|lateness| lateness.p99),
            "underruns": self.underruns,
            "answers": self.answers,
        })
    }
}
