//! The hadoop charm: HDFS from an Apache Hadoop build. One executable for plan, inspect, recipe and the programs that
//! its tasks run. The plan is pure; only tasks and the recipe touch anything.

mod config;
mod inspect;
mod java;
mod layout;
mod plan;
mod programs;
mod recipe;

use std::process::ExitCode;

use stoker_charm::{Charm, Recipe, warm};

fn main() -> ExitCode {
    stoker_charm::main(Charm {
        plan: plan::plan,
        inspect: Some(inspect::inspect),
        recipe: Some(Recipe { product: "hadoop", make: recipe::make, versions: recipe::versions }),
        programs: &[
            ("identify", programs::storage::identify),
            ("storage", programs::storage::run),
            ("namenode-up", programs::up::run),
            ("folders", programs::folders::run),
            ("checkpoint-due", programs::checkpoint::run),
            (warm::START, warm::start),
            (warm::MAKE, programs::warm::run),
            ("report", programs::report::run),
            ("safemode", programs::tools::safemode),
            ("fsck", programs::tools::fsck),
            ("layouts", programs::layouts::run),
            ("upgrade-ask", programs::upgrade::ask::run),
            ("upgrade-asked", programs::upgrade::ask::asked),
            ("upgrade-prepare", programs::upgrade::prepare::run),
            ("upgrade-release", programs::upgrade::prepare::release),
            ("upgrade-convert", programs::upgrade::convert::run),
            ("upgrade-verify", programs::upgrade::verify::run),
            ("upgrade-finalize", programs::upgrade::finalize::run),
            ("upgrade-restore", programs::upgrade::convert::restore),
        ],
    })
}
