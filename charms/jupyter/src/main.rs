//! The jupyter charm: plan and recipe in one executable, and the programs that its kernels and actions run.
//! It must not touch the host outside a recipe and those programs.

mod launch;
mod options;
mod plan;
mod recipe;
mod url;

use std::process::ExitCode;

use stoker_charm::{Charm, Recipe};

fn main() -> ExitCode {
    stoker_charm::main(Charm {
        plan: plan::plan,
        // Facts of Python environments are read by the SDK.
        inspect: None,
        recipe: Some(Recipe { product: "python", make: recipe::make, versions: recipe::versions }),
        programs: &[("kernel-launch", launch::main), ("holds", launch::holds), ("url", url::main)],
    })
}
