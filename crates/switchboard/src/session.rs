//! One run of the local stack: starts it, uses it for a [`Purpose`], and stops it, whatever happens between.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use switchboard_runtime::Vars;
use tracing_subscriber::EnvFilter;

use crate::devstack::{
    self, Addresses, HostEnvironment, Pool, PreparedStack, Stack, StackOptions, StateDirectory,
};
use crate::progress::Progress;
use crate::signals::{INTERRUPTED, StopSignals};
use crate::{demo, load, scenarios, tls::install_tls_provider};

/// The command that starts a stack, with its options.
pub(crate) enum Purpose {
    Serve,
    Demo(demo::DemoOptions),
    Load(load::LoadRun),
    Test(scenarios::ScenarioRun),
}

impl Purpose {
    /// Uses the running stack until the purpose is fulfilled.
    async fn fulfil(&self, addresses: &Addresses, pool: &Pool) -> anyhow::Result<()> {
        match self {
            Self::Demo(options) => demo::run(addresses, pool, options).await,
            Self::Test(run) => scenarios::run(addresses, run).await,
            Self::Load(run) => load::run(addresses, pool, run).await,
            Self::Serve => {
                print_banner(addresses)?;
                std::future::pending().await
            }
        }
    }

    /// The exit code after Ctrl-C: serving ends well by it, an interrupted check has proved nothing.
    fn interrupted(&self) -> ExitCode {
        match self {
            Self::Serve => ExitCode::SUCCESS,
            Self::Demo(_) | Self::Load(_) | Self::Test(_) => ExitCode::from(INTERRUPTED),
        }
    }
}

/// Runs scenarios on the stack that runs on this state directory, or starts one for them; or writes one.
///
/// # Errors
///
/// A scenario file is wrong, a scenario fails, or the stack does not start.
pub(crate) fn test(
    state: Option<PathBuf>,
    port: Option<u16>,
    arguments: scenarios::Args,
) -> anyhow::Result<ExitCode> {
    let directory = match &state {
        Some(state) => state.clone(),
        None => devstack::workspace()?.join(".switchboard"),
    };
    if arguments.export.is_wanted() {
        install_tls_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(arguments.export.write(&directory)).map(|()| ExitCode::SUCCESS);
    }
    let run_of_scenarios = arguments.read()?;
    let Some(addresses) = Addresses::of_running(&directory)? else {
        return run(state, port, &Purpose::Test(run_of_scenarios));
    };
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(scenarios::run(&addresses, &run_of_scenarios));
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Starts a stack, uses it for `purpose`, and stops it.
///
/// # Errors
///
/// The first error of the start, the purpose or the stop.
pub(crate) fn run(state: Option<PathBuf>, port: Option<u16>, purpose: &Purpose) -> anyhow::Result<ExitCode> {
    install_tls_provider();
    let mut host = HostEnvironment::read(&Vars::from_env());
    let load = match purpose {
        Purpose::Load(run) => {
            // A load test on real providers would cost money.
            host.drop_providers();
            Some(run.setup())
        }
        _ => None,
    };
    let options = StackOptions { state, port, host, load };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(supervise(options, purpose));
    runtime.shutdown_background();
    outcome
}

/// Starts the stack, uses it until the purpose is fulfilled, a child dies or a signal comes, and stops it.
async fn supervise(options: StackOptions, purpose: &Purpose) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let mut signals = StopSignals::new()?;
    let (state, prepared) = tokio::select! {
        checked = devstack::check(options, &progress) => checked?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    log_to(&state.directories.log("switchboard"))?;
    let outcome = run_stack(prepared, &progress, &mut signals, purpose).await;
    progress.say("stopping");
    tokio::select! {
        outcome = stop(outcome, &state.directories) => outcome,
        // The children still end: their guards see this process exit.
        () = signals.next() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// The result of the purpose, and the stack if it must still be stopped.
type Outcome = (anyhow::Result<ExitCode>, Option<Stack>);

async fn run_stack(
    prepared: PreparedStack,
    progress: &Progress,
    signals: &mut StopSignals,
    purpose: &Purpose,
) -> Outcome {
    let started = Instant::now();
    // Boxed, because the future of the start is large.
    let mut stack = tokio::select! {
        stack = Box::pin(Stack::start(prepared, progress)) => match stack {
            Ok(stack) => stack,
            Err(error) => return (Err(error), None),
        },
        () = signals.next() => return (Ok(ExitCode::from(INTERRUPTED)), None),
    };
    progress.say(&format!("{:6.1} s  ready", started.elapsed().as_secs_f64()));
    let result = tokio::select! {
        result = purpose.fulfil(&stack.addresses, &stack.pool) => result.map(|()| ExitCode::SUCCESS),
        failure = stack.parts.failure() => Err(anyhow::anyhow!(failure)),
        () = signals.next() => Ok(purpose.interrupted()),
    };
    (result, Some(stack))
}

/// Stops the stack and waits until no child is left. The first error counts.
async fn stop((result, stack): Outcome, directories: &StateDirectory) -> anyhow::Result<ExitCode> {
    let stopped = match stack {
        Some(stack) => stack.stop().await,
        None => Ok(()),
    };
    let settled = devstack::settle(directories).await;
    let code = result?;
    stopped.and(settled).map(|()| code)
}

/// Sends this process's log to a file: the terminal shows progress and results only.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails only if a subscriber is installed already, which then gets the lines.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
    Ok(())
}

/// Prints everything that a person needs to place a call by hand.
fn print_banner(addresses: &Addresses) -> anyhow::Result<()> {
    let Addresses { api_url, token, from_number, state, .. } = addresses;
    let carrier_url = addresses.carrier_url()?;
    let state = state.display();
    let body = json!({
        "from_number": from_number,
        "to_number": "+14155550100",
        "agent_config": { "initial_message": "Hello, this is Ada from the corner bakery. How can I help you?" },
    });
    writeln!(
        std::io::stdout(),
        "\nConsole  {}\n\nAPI    {api_url}\nToken  {token}\nFor another terminal:\n\n  \
         export API={api_url} TOKEN={token} CARRIER_URL={carrier_url}\n\nAll addresses: {state}/local.json; logs: {state}/logs\n\n\
         Place a call:\n\n  curl -sS {api_url}/conversations/create_phone_call \\\n    \
         -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n    -d '{body}'\n\n\
         Ctrl-C stops everything.",
        addresses.console_url("/conversations"),
    )?;
    Ok(())
}
