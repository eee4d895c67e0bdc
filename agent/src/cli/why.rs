//! `stoker why`.

use std::fmt::Write as _;

use super::out::{clean, clean_line};
use super::{Context, End};
use crate::api::types::Why;

/// Say why something is as it is: cause, evidence, fix
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker why web
  stoker why web/0 --format json")]
pub(crate) struct Arguments {
    /// APP, UNIT or UNIT/SERVICE
    subject: String,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let mut url = client.at(&["why"]);
    url.query_pairs_mut().append_pair("subject", &arguments.subject);
    let why: Why = client.get(url).await?;
    context.out.show(&why, render)
}

fn render(why: &Why) -> String {
    let mut text = format!("{} is {}\n", clean(&why.subject), clean(&why.status));
    for (depth, cause) in why.causes.iter().enumerate() {
        let indent = "  ".repeat(depth + 1);
        let code = if cause.code.is_empty() { String::new() } else { format!(" [{}]", clean(&cause.code)) };
        let _ = writeln!(text, "{indent}because {}{code}", clean(&cause.cause));
        for line in &cause.evidence {
            let _ = writeln!(text, "{indent}  | {}", clean_line(line));
        }
        if !cause.fix.is_empty() {
            let _ = writeln!(text, "{indent}  fix: {}", clean(&cause.fix));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Cause;

    #[test]
    fn the_chain_goes_from_condition_to_fix() {
        let why = Why {
            subject: "web/0".into(),
            status: "waiting: server: not ready".into(),
            causes: vec![
                Cause {
                    cause: "server does not answer".into(),
                    evidence: vec!["port 80\x07".into()],
                    ..Cause::default()
                },
                Cause {
                    cause: "port 80 is taken".into(),
                    fix: "end pid 12".into(),
                    code: "ST0030".into(),
                    ..Cause::default()
                },
            ],
        };
        assert_eq!(
            render(&why),
            "web/0 is waiting: server: not ready\n  because server does not answer\n    | port 80\\u{7}\n    \
             because port 80 is taken [ST0030]\n      fix: end pid 12\n"
        );
    }
}
