//! The local stack: the deployed parts of Switchboard on one machine, with an AWS emulator and the sandbox
//! around them.
//!
//! It knows nothing of the calls that are placed on it: the demo, the scenarios and the load test only get its
//! [`Addresses`] and its [`Pool`] of media workers. Start reading at `stack`, which starts and stops everything
//! else:
//!
//! - before the start: `checks` (Python, disk, ports), `host_environment` (variables of the caller), `build`
//!   (cargo), `python_environment` (pip), `deployment` (`template.yaml` into the emulator), `seed` (the account), `own_carrier` (a carrier of the user's)
//! - processes: `children`, each below a `guard`; `emulator`; `workers` on their `cores`
//! - in this process: `proxy` before the API, `balancer` before the workers, `providers` (the source of each vendor)
//! - `addresses`: the file `local.json`, by which other processes find a running stack

pub(crate) mod addresses;
mod balancer;
mod build;
mod checks;
mod children;
mod cores;
mod deployment;
mod emulator;
mod fast_table;
pub(crate) mod guard;
mod host_environment;
mod own_carrier;
mod providers;
mod proxy;
mod python_environment;
mod seed;
mod stack;
mod workers;

pub(crate) use addresses::Addresses;
pub(crate) use balancer::Pool;
pub(crate) use checks::{listen, workspace};
pub(crate) use children::StateDirectory;
pub(crate) use deployment::STACK;
pub(crate) use emulator::{emulator_config, recordings, table};
pub(crate) use fast_table::{Counted, Counts};
pub(crate) use host_environment::{HostEnvironment, key_variable};
pub(crate) use providers::Source;
pub(crate) use stack::{LoadSetup, PreparedStack, Stack, StackOptions, check, settle};
