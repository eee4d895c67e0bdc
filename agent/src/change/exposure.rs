//! Exposing an application to other hosts, and taking that back. Owns the check of what is asked; what follows is the
//! units' own doing.

use stoker_model::exposure::{Exposure, network};
use stoker_model::keys::Key;
use stoker_model::record::App;

use super::draft::Draft;
use crate::core::Firewall;
use crate::problem::{Problem, codes};

pub(super) fn expose(draft: &mut Draft, name: &str, to: &[String]) -> Result<String, Problem> {
    let app = draft.app(name, "expose")?;
    let mut networks = Vec::new();
    for text in to {
        let network = network(text).map_err(|error| {
            let title = format!("cannot expose `{name}` to `{text}`: {error}");
            Problem::new(codes::INVALID_VALUE, title).fix("a network such as 10.0.0.0/8, or an address")
        })?;
        networks.push(network);
    }
    networks.sort();
    networks.dedup();
    if !networks.is_empty() {
        Firewall::check().map_err(|why| {
            let title = format!("cannot expose `{name}` to some networks alone: {why}");
            Problem::new(codes::UNFIT, title)
                .fix("apt install nftables; or expose it without --to behind a firewall of yours")
        })?;
    }
    let says = match networks.as_slice() {
        [] => format!("exposed {name}: whoever reaches this host reaches its services"),
        some => format!("exposed {name} to {}", some.join(", ")),
    };
    put(draft, App { exposed: Some(Exposure { to: networks }), ..app })?;
    Ok(says)
}

pub(super) fn unexpose(draft: &mut Draft, name: &str) -> Result<String, Problem> {
    let app = draft.app(name, "unexpose")?;
    put(draft, App { exposed: None, ..app })?;
    Ok(format!("{name} is reached from this host alone"))
}

fn put(draft: &mut Draft, app: App) -> Result<(), Problem> {
    let name = app.name.clone();
    let same = draft.snapshot.apps.get(&name).is_some_and(|before| before.exposed == app.exposed);
    if !same {
        draft.put(Key::App(name.clone()), &app)?;
        draft.concerns(&name);
    }
    Ok(())
}
