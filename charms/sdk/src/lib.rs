//! `stoker-charm`: the SDK for function charms in Rust.
//!
//! A charm is one executable: [`main`] takes its role from the first argument (`dispatch`, `inspect`, `recipe`, or
//! one of the charm's own programs for tasks) and calls the function given for it. Owns the roles' arguments, exit
//! statuses and messages, and what several charms need: reading jars ([`jars`], [`shelf`], [`link`]), configuration texts ([`site`],
//! [`overrides`]), plain HTTP for tasks ([`http`], [`webhdfs`]), an attached Java ([`java`]), child processes for recipes ([`recipe`]). It must not decide
//! anything that is a charm's to decide. The contract's documents are those of stoker-model, re-exported here.
//!
//! ```no_run
//! use stoker_charm::{Charm, Observation, Plan};
//!
//! fn plan(_seen: &Observation) -> anyhow::Result<Plan> {
//!     Ok(Plan::default())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     stoker_charm::main(Charm { plan, inspect: None, recipe: None, programs: &[] })
//! }
//! ```
//!
//! One thread waits for SIGTERM while a recipe makes a build; there are no others.

mod dispatch;
pub mod http;
mod inspect;
pub mod jars;
pub mod java;
pub mod link;
pub mod overrides;
pub mod recipe;
mod roles;
pub mod shelf;
pub mod site;
pub mod warm;
pub mod webhdfs;

use std::path::Path;
use std::process::ExitCode;

pub use anyhow;
pub use serde_json;
pub use stoker_model::observation::{Facts, Observation};
pub use stoker_model::plan::Plan;
pub use stoker_model::probe::Probe;
pub use stoker_model::status::{State, Status};
pub use stoker_model::{charm, digest, ids, observation, placeholder, plan, probe, size, status};

pub use self::overrides::of as overrides;
pub use self::recipe::Progress;
pub use self::roles::print;

/// The exit status of a task that should be tried again later.
pub const TRY_LATER: u8 = 75;

/// From observation to plan; pure.
pub type PlanFn = fn(&Observation) -> anyhow::Result<Plan>;
/// The facts of a tree of this product (`-` = any), or none where it is no build of the charm's.
pub type InspectFn = fn(product: &str, tree: &Path) -> anyhow::Result<Option<Facts>>;
/// A program of the charm's own, run in tasks; gets the arguments after its name.
pub type ProgramFn = fn(&[String]) -> anyhow::Result<ExitCode>;

/// What a charm is made of.
#[derive(Debug, Clone, Copy)]
pub struct Charm {
    /// Makes the plan.
    pub plan: PlanFn,
    /// Reads facts from builds, before the SDK's own inspectors (java, python, jars) are asked.
    pub inspect: Option<InspectFn>,
    /// Makes builds.
    pub recipe: Option<Recipe>,
    /// Programs for tasks, by name.
    pub programs: &'static [(&'static str, ProgramFn)],
}

/// How a charm makes a build by itself.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// What it makes. Of other products the SDK makes `java`, `python` and `jars`.
    pub product: &'static str,
    /// Makes the build of a version in a folder (which is made if absent).
    pub make: fn(version: &str, out: &Path, progress: &mut Progress) -> anyhow::Result<()>,
    /// The versions that can be made, newest first.
    pub versions: fn() -> anyhow::Result<Vec<String>>,
}

/// Leaves the cores to whoever else wants them: for a program that computes while services start. Before it starts threads.
pub fn give_way() {
    // Where that is not allowed it competes like everybody else.
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Runs a charm: dispatches on the first argument. A panic becomes a message and exit status 1.
pub fn main(charm: Charm) -> ExitCode {
    roles::run(&charm, std::env::args().skip(1).collect())
}
