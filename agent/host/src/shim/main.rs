//! `stoker-shim`: keeps one service where no service manager does, and applies limits before a command begins.
//!
//! `keep DIR TICKET` keeps the service described by `DIR/spec.json`; `sweep DIR` ends what a lost keeper left; `exec STAGE --
//! COMMAND…` applies STAGE to itself and becomes the command; `capture -- COMMAND…` and `ended DIR` are parts of a unit
//! where systemd keeps it. Blocking and small: no runtime, no threads, no timers
//! while nothing happens.

mod capture;
mod child;
mod ended;
mod keep;
mod log;
mod restrict;
mod stage;
mod sweep;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect::<Vec<_>>()[..] {
        ["keep", _, ticket] => keep::keep(args[1].as_ref(), ticket),
        ["sweep", _] => sweep::sweep(args[1].as_ref()),
        ["ended", _] => ended::ended(args[1].as_ref()),
        ["capture", "--", _, ..] => capture::capture(&args[2..]),
        ["exec", stage, "--", _, ..] => stage::become_command(stage, &args[3..]),
        _ => {
            complain(
                "usage: stoker-shim keep DIR TICKET | sweep DIR | exec STAGE -- COMMAND… | capture -- COMMAND… | ended DIR",
            );
            ExitCode::from(2)
        }
    }
}

/// Says why on stderr.
fn complain(text: &str) {
    use std::io::Write as _;
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stderr(), "stoker-shim: {text}");
}
