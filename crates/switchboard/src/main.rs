#![doc = include_str!("../README.md")]

mod api_client;
mod call_lines;
mod catalogue_report;
mod demo;
mod devstack;
#[cfg(test)]
mod documented_commands;
mod evidence;
mod listen;
mod load;
mod new_account;
mod operate;
mod progress;
mod replay;
mod ring;
mod scenarios;
mod session;
mod signals;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use devstack::guard;
use session::Purpose;

/// A phone switchboard for voice agents on this machine: no account, no key, no container.
///
/// Without a command it runs everything until Ctrl-C. `accounts`, `tokens`, `secrets`, `numbers` and `queues` also
/// work on a stack that is deployed in AWS.
#[derive(Parser)]
#[command(name = "switchboard", version)]
struct Arguments {
    /// State directory of the local stack, with its logs [default: .switchboard in the checkout].
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
        /// Keep everything running after the call until Ctrl-C, so that the console can show it.
        #[arg(long)]
        stay: bool,
        #[command(flatten)]
        providers: demo::ChosenProviders,
    },
    /// List the providers: who serves each here, their models, prices and last days, and the fallbacks.
    ///
    /// A key or an address of a provider in the environment (`OPENAI_API_KEY`, `OPENAI_API_URL`) makes it real in local
    /// mode; the others are simulated.
    Providers(catalogue_report::Args),
    /// Place many calls at once with canned speech, and report what they cost the media worker.
    ///
    /// The numbers are meaningful only in an optimized build: `cargo run --release -- load`.
    Load(load::Args),
    /// Create and list accounts.
    #[command(subcommand)]
    Accounts(operate::AccountsCommand),
    /// Create, list and revoke the tokens that open an account.
    #[command(subcommand)]
    Tokens(operate::TokensCommand),
    /// Show and rotate the secret that signs an account's webhooks.
    #[command(subcommand)]
    Secrets(operate::SecretsCommand),
    /// Move messages out of dead-letter queues.
    #[command(subcommand)]
    Queues(operate::QueuesCommand),
    /// List the phone numbers that no account has.
    #[command(subcommand)]
    Numbers(operate::NumbersCommand),
    /// Receive webhooks and show them as they arrive.
    ///
    /// Prints the URL and the webhook to add to an agent's configuration. Then prints every webhook: its time,
    /// event, sequence and conversation, whether its signature is valid, whether it was repeated, and its data.
    Listen(listen::Args),
    /// Have a simulated person ring a number of the local stack that runs, and show the conversation.
    ///
    /// The number's webhooks, or its own agent, take the call: `inbound_agent_id` of `PATCH /phone_numbers/{number}`, or the
    /// number's page in the console. The exit code is 0 only if an agent took it.
    Ring(ring::Args),
    /// Place the calls of scenario files, and check what was said, heard and stored.
    ///
    /// Uses the local stack that runs, or starts one. A failed scenario is shown as a timeline.
    Test(scenarios::Args),
    /// Show a call step by step from its replay log, and check that today's engine decides the same.
    Replay(replay::Args),
    /// Run a command and end its whole process tree when stdin ends.
    #[command(hide = true)]
    Guard(guard::Args),
    /// Be the agent that a load test compares the media worker with.
    #[command(hide = true)]
    HardWired(load::AgentArgs),
    /// Become a command that ends with its guard.
    #[command(hide = true)]
    Tied(guard::TiedArgs),
}

fn main() -> ExitCode {
    let Arguments { state, api, command } = Arguments::parse();
    let outcome = match command {
        Some(Command::Tied(tied)) => Err(guard::become_tied(&tied)),
        Some(Command::Guard(guard)) => run_guard(guard),
        Some(Command::Accounts(command)) => operate::run(operate::Command::Accounts(command), state),
        Some(Command::Tokens(command)) => operate::run(operate::Command::Tokens(command), state),
        Some(Command::Secrets(command)) => operate::run(operate::Command::Secrets(command), state),
        Some(Command::Queues(command)) => operate::run(operate::Command::Queues(command), state),
        Some(Command::Numbers(command)) => operate::run(operate::Command::Numbers(command), state),
        Some(Command::Listen(arguments)) => listen::run(arguments, state),
        Some(Command::Ring(arguments)) => ring::run(&arguments, state),
        Some(Command::Providers(arguments)) => catalogue_report::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Replay(arguments)) => replay::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::HardWired(arguments)) => load::serve_hard_wired(arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Load(arguments)) => {
            session::run(state, api.port, &Purpose::Load(load::LoadRun::new(arguments)))
        }
        Some(Command::Test(arguments)) => session::test(state, api.port, arguments),
        Some(Command::Demo { api: own, json, kill_worker, stay, providers }) => {
            let options = demo::DemoOptions { json, kill_worker, stay, providers };
            session::run(state, own.port.or(api.port), &Purpose::Demo(options))
        }
        Some(Command::Serve { api: own }) => session::run(state, own.port.or(api.port), &Purpose::Serve),
        None => session::run(state, api.port, &Purpose::Serve),
    };
    outcome.unwrap_or_else(|error| {
        // The reader of a pipe, such as `head`, has seen enough.
        let is_closed_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
        if error.downcast_ref().is_some_and(is_closed_pipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("switchboard: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the guard on one thread: the kernel ties the child to the thread that started it.
fn run_guard(arguments: guard::Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(guard::run(arguments));
    // The thread that reads stdin may still be blocked in a read.
    runtime.shutdown_background();
    outcome
}
