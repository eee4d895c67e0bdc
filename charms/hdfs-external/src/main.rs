//! The hdfs-external charm: an HDFS that others run, told to the applications of this model as the hadoop charm tells its
//! own. One executable for plan, inspect, recipe and the programs that its tasks run. It runs no service, and nothing of it
//! writes outside of the one folder that it is given.

mod inspect;
mod place;
mod plan;
mod programs;

use std::process::ExitCode;

use stoker_charm::{Charm, Recipe};

fn main() -> ExitCode {
    stoker_charm::main(Charm {
        plan: plan::plan,
        inspect: Some(inspect::inspect),
        recipe: Some(Recipe { product: "hadoop-client", make: inspect::make, versions: || Ok(Vec::new()) }),
        programs: &[("ask", programs::ask::run), ("folders", programs::folders::run)],
    })
}
