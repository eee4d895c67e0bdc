//! The checker: what must hold of an agent's folder when nothing goes on in it. Owns the invariants and the form in
//! which two folders are compared; reads only databases, files and `/proc`, and asks nothing of the agent, so that an
//! agent that lies is found out.

mod files;
mod processes;
mod records;
mod state;

use std::path::Path;

pub use processes::{Running, running};
pub use records::{Records, published, revision};
pub use state::{difference, state};

/// Everything that does not hold in the folder of an agent at rest; empty = it is sound. `agent` is its process.
pub fn violations(dir: &Path, agent: Option<u32>) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["model.db", "agent.db"] {
        match records::quick_check(&dir.join(name)) {
            Ok(text) if text == "ok" => {}
            Ok(text) => found.push(format!("{name}: quick_check says {text}")),
            Err(error) => found.push(format!("{name}: {error}")),
        }
    }
    match Records::read(dir) {
        Ok(records) => {
            records::check(&records, &mut found);
            processes::check(dir, &records, agent, &mut found);
            files::check(dir, &records, &mut found);
        }
        Err(error) => found.push(format!("cannot read the databases: {error}")),
    }
    found
}
