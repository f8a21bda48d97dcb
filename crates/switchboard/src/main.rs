//! The `switchboard` command: the whole system on one machine, real but for the world around it.
//!
//! The AWS part runs in an emulator, the carrier, the callers and the providers are the `sandbox`; what
//! lies between is what is deployed. Start reading at [`stack`]: it assembles everything else.

mod accounts;
mod balancer;
mod calls;
mod demo;
mod deployment;
mod emulator;
mod environment;
mod functions;
mod guard;
mod listen;
mod load;
mod processes;
mod progress;
mod providers;
mod proxy;
mod replay;
mod requirements;
mod seed;
mod stack;
mod system;
mod test;
mod workers;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context as _;
use balancer::Pool;
use clap::{Parser, Subcommand};
use processes::Directories;
use progress::Progress;
use serde_json::json;
use stack::{Addresses, Checked, Options, Stack};
use switchboard_runtime::Vars;
use system::System;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What a shell calls a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// A phone switchboard for voice agents, on this machine: no account, no key, no container.
///
/// Without a command it runs everything until Ctrl-C. `accounts`, `tokens` and `secrets` also work on a stack
/// that is deployed in AWS.
#[derive(Parser)]
#[command(name = "switchboard", version)]
struct Arguments {
    /// Where the local stack keeps its state and logs [default: .switchboard in the checkout].
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    api: ApiPort,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
struct ApiPort {
    /// Port of the API on 127.0.0.1 [default: 8787, or the next free one].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything until Ctrl-C (the default).
    Serve {
        #[command(flatten)]
        api: ApiPort,
    },
    /// Place one phone call to a simulated person, show it as it happens, and stop.
    Demo {
        #[command(flatten)]
        api: ApiPort,
        /// Also write everything about the call to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Kill the media worker that holds the call in the middle of a sentence.
        #[arg(long)]
        kill_worker: bool,
    },
    /// Make many calls at once with canned speech, and report what they cost the media worker.
    ///
    /// The numbers mean something in an optimized build only: `cargo run --release -- load`.
    Load(load::Args),
    /// Make and list accounts.
    #[command(subcommand)]
    Accounts(accounts::Accounts),
    /// Make, list and revoke the tokens that open an account.
    #[command(subcommand)]
    Tokens(accounts::Tokens),
    /// Show and rotate the secret that signs an account's webhooks.
    #[command(subcommand)]
    Secrets(accounts::Secrets),
    /// Receive webhooks and show them as they arrive.
    ///
    /// Prints the URL and what to put into an agent's configuration, then every webhook: its time, event,
    /// sequence and conversation, whether its signature holds, whether it came before, and what it says.
    Listen(listen::Args),
    /// Make scripted calls from files, and check what was said, heard and stored.
    ///
    /// Uses the local stack that runs, else starts one. A call that does not go as expected is told as a story.
    Test(test::Args),
    /// Show a call step by step from its replay log, and check that today's engine decides the same.
    Replay(replay::Args),
    /// Run a command whose whole tree ends when stdin does.
    #[command(hide = true)]
    Guard(guard::Args),
    /// Become a command that ends with its guard.
    #[command(hide = true)]
    Tied(guard::TiedArgs),
}

fn main() -> ExitCode {
    let Arguments { state, api, command } = Arguments::parse();
    let outcome = match command {
        Some(Command::Tied(tied)) => Err(guard::become_tied(&tied)),
        Some(Command::Guard(guard)) => run_guard(guard),
        Some(Command::Accounts(command)) => accounts::run(accounts::Command::Accounts(command), state),
        Some(Command::Tokens(command)) => accounts::run(accounts::Command::Tokens(command), state),
        Some(Command::Secrets(command)) => accounts::run(accounts::Command::Secrets(command), state),
        Some(Command::Listen(arguments)) => listen::run(arguments, state),
        Some(Command::Replay(arguments)) => replay::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Load(arguments)) => run(state, api.port, &Mode::Load(load::Options::new(arguments))),
        Some(Command::Test(arguments)) => test(state, api.port, arguments),
        Some(Command::Demo { api: its, json, kill_worker }) => {
            run(state, its.port.or(api.port), &Mode::Demo(demo::Options { json, kill_worker }))
        }
        Some(Command::Serve { api: its }) => run(state, its.port.or(api.port), &Mode::Serve),
        None => run(state, api.port, &Mode::Serve),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("switchboard: {error:#}");
        ExitCode::FAILURE
    })
}

/// What a running stack is used for.
enum Mode {
    Serve,
    Demo(demo::Options),
    Load(load::Options),
    Test(test::Plan),
}

impl Mode {
    /// Uses the stack until done.
    async fn act(&self, addresses: &Addresses, pool: &Pool) -> anyhow::Result<()> {
        match self {
            Self::Demo(options) => demo::run(addresses, pool, options).await,
            Self::Test(plan) => test::run(addresses, plan).await,
            Self::Load(options) => load::run(addresses, pool, options).await,
            Self::Serve => {
                banner(addresses)?;
                std::future::pending().await
            }
        }
    }

    /// Ctrl-C is how serving ends well; a demo or a test that is interrupted has shown nothing.
    fn interrupted(&self) -> ExitCode {
        match self {
            Self::Serve => ExitCode::SUCCESS,
            Self::Demo(_) | Self::Load(_) | Self::Test(_) => ExitCode::from(INTERRUPTED),
        }
    }
}

/// Makes scripted calls on the stack that runs on this state directory; if none does, on one of its own.
fn test(state: Option<PathBuf>, port: Option<u16>, arguments: test::Args) -> anyhow::Result<ExitCode> {
    let plan = arguments.read()?;
    let directory = match &state {
        Some(state) => state.clone(),
        None => requirements::workspace()?.join(".switchboard"),
    };
    let Some(addresses) = Addresses::of_running(&directory)? else {
        return run(state, port, &Mode::Test(plan));
    };
    // Only fails if there is one already, which is then just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(test::run(&addresses, &plan));
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// One thread: the kernel ties the child to the thread that started it.
fn run_guard(arguments: guard::Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(guard::run(arguments));
    // The thread that reads stdin may still wait for it.
    runtime.shutdown_background();
    outcome
}

fn run(state: Option<PathBuf>, port: Option<u16>, mode: &Mode) -> anyhow::Result<ExitCode> {
    // Only fails if there is one already, which is then just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut system = System::read(&Vars::from_env());
    let load = match mode {
        Mode::Load(options) => {
            // Nobody wants to pay for a load.
            system.forget_keys();
            Some(options.setup())
        }
        _ => None,
    };
    let options = Options { state, port, system, load };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(supervise(options, mode));
    runtime.shutdown_background();
    outcome
}

/// Starts the stack, uses it until that is done, a child dies or a signal comes, and stops it.
async fn supervise(options: Options, mode: &Mode) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let mut interrupts = Interrupts::new()?;
    let (state, checked) = tokio::select! {
        checked = stack::check(options, &progress) => checked?,
        () = interrupts.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    log_to(&state.directories.log("switchboard"))?;
    let outcome = run_stack(checked, &progress, &mut interrupts, mode).await;
    progress.say("stopping");
    tokio::select! {
        outcome = stop(outcome, &state.directories) => outcome,
        // At once: what is left ends by itself, since its guards see this process go.
        () = interrupts.next() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// What came of it, and the stack if it is still to be stopped.
type Outcome = (anyhow::Result<ExitCode>, Option<Stack>);

async fn run_stack(
    checked: Checked,
    progress: &Progress,
    interrupts: &mut Interrupts,
    mode: &Mode,
) -> Outcome {
    let started = Instant::now();
    // Boxed: it holds everything that is under way.
    let mut stack = tokio::select! {
        stack = Box::pin(Stack::start(checked, progress)) => match stack {
            Ok(stack) => stack,
            Err(error) => return (Err(error), None),
        },
        () = interrupts.next() => return (Ok(ExitCode::from(INTERRUPTED)), None),
    };
    progress.say(&format!("{:6.1} s  ready", started.elapsed().as_secs_f64()));
    let result = tokio::select! {
        result = mode.act(&stack.addresses, &stack.pool) => result.map(|()| ExitCode::SUCCESS),
        death = stack.parts.failure() => Err(anyhow::anyhow!(death)),
        () = interrupts.next() => Ok(mode.interrupted()),
    };
    (result, Some(stack))
}

/// Stops what runs and waits until no child is left; the first error counts.
async fn stop((result, stack): Outcome, directories: &Directories) -> anyhow::Result<ExitCode> {
    let stopped = match stack {
        Some(stack) => stack.stop().await,
        None => Ok(()),
    };
    let settled = stack::settle(directories).await;
    let code = result?;
    stopped.and(settled).map(|()| code)
}

/// Our own log goes to a file: the screen is for people.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Only fails if there is a subscriber already, which then gets the lines.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
    Ok(())
}

/// What somebody needs to place a call by hand.
fn banner(addresses: &Addresses) -> anyhow::Result<()> {
    let Addresses { api_url, token, from_number, state, .. } = addresses;
    let state = state.display();
    let body = json!({
        "from_number": from_number,
        "to_number": "+14155550100",
        "agent_config": { "initial_message": "Hello, this is Ada from the corner bakery. How can I help you?" },
    });
    writeln!(
        std::io::stdout(),
        "\nAPI    {api_url}\nToken  {token}\nAll addresses: {state}/local.json; logs: {state}/logs\n\n\
         Place a call:\n\n  curl -sS {api_url}/conversations/create_phone_call \\\n    \
         -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n    -d '{body}'\n\n\
         Ctrl-C stops everything."
    )?;
    Ok(())
}

/// SIGINT, SIGTERM and SIGHUP, which all mean: stop in order. The second means: at once.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> anyhow::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
