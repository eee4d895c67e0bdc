//! The spark charm: Spark standalone with a history server, aligned to the HDFS it is related to. One executable is
//! its plan, its inspector, its recipe and the programs of its tasks. It must not touch the host outside a recipe
//! and those programs.

mod align;
mod config;
mod inspect;
mod java;
mod plan;
mod programs;
mod recipe;

use std::process::ExitCode;

use stoker_charm::{Charm, Recipe};

fn main() -> ExitCode {
    stoker_charm::main(Charm {
        plan: plan::plan,
        inspect: Some(inspect::inspect),
        recipe: Some(Recipe { product: "spark", make: recipe::make, versions: recipe::versions }),
        programs: programs::ALL,
    })
}
