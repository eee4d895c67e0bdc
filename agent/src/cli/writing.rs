//! What all writing verbs share: their flags, previews, progress, waiting and what is printed. Owns no verb.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use stoker_model::size;

use super::client::Client;
use super::diff;
use super::follow::{self, Patience, Subject};
use super::out::{Out, bytes, clean};
use super::progress::Shown;
use super::{Context, End};
use crate::api::types::{Preview, Progress, UnitPreview, Write, WriteReply, WriteRequest};
use crate::problem::{Problem, codes};

/// Flags of every verb that writes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Change options")]
pub(crate) struct Writing {
    /// Show what would change, and change nothing
    #[arg(long)]
    pub preview: bool,
    /// With --preview: exit status 10 when there are changes
    #[arg(long, requires = "preview")]
    pub exit_code: bool,
    /// Apply only exactly what the preview with this token showed
    #[arg(long = "if", value_name = "TOKEN", conflicts_with = "preview")]
    pub token: Option<String>,
    /// Move at once, whatever is busy
    #[arg(long, conflicts_with = "when_idle")]
    pub now: bool,
    #[allow(clippy::option_option, reason = "the flag may stand alone or have a value")]
    /// Move when busy services are idle (the default), at the latest after DURATION
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = size::duration)]
    pub when_idle: Option<Option<Duration>>,
    /// Wait until it has settled (the default on a terminal)
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Print the change's number and do not wait
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub patience: Patience,
}

impl Writing {
    fn request(&self, what: Write, context: &Context) -> WriteRequest {
        let mode = if self.now { Some("now") } else { self.when_idle.map(|_| "when-idle") };
        WriteRequest {
            what,
            command: context.command.clone(),
            preview: self.preview,
            if_token: self.token.clone(),
            mode: mode.map(str::to_owned),
            patience: self.when_idle.flatten().map(|patience| patience.as_millis() as u64),
        }
    }

    /// On a terminal verbs wait; elsewhere only when told to.
    fn waits(&self) -> bool {
        self.wait || (!self.no_wait && Out::watched())
    }
}

/// Makes a change and says what came of it.
pub(crate) async fn write(context: &Context, what: Write, flags: &Writing) -> Result<(), End> {
    let client = context.client()?;
    let reply = send(context, &client, what, flags).await?;
    if let Some(preview) = &reply.preview {
        return show_preview(context.out, preview, flags);
    }
    let Some(change) = reply.change else {
        if context.out.format != super::out::Format::Tabular {
            context.out.document(&reply)?;
        }
        return Ok(());
    };
    if !flags.waits() {
        return context.out.show(&reply, |_| format!("change {change}"));
    }
    let status = follow::settled(context, &client, &Subject::Change(change), &flags.patience).await?;
    if context.out.format != super::out::Format::Tabular {
        let mut document = json!(reply);
        document["settled"] = json!(status);
        context.out.document(&document)?;
    }
    follow::verdict(context.out, &status, &flags.patience)
}

/// Sends a write and says its sentence and warnings; progress is shown meanwhile.
pub(crate) async fn send(
    context: &Context,
    client: &Client,
    what: Write,
    flags: &Writing,
) -> Result<WriteReply, Problem> {
    let request = flags.request(what, context);
    let asked = async {
        let mut lines = client.post_lines(client.at(&["changes"]), &request).await?;
        let mut shown = Shown::new(context.out);
        loop {
            match lines.next::<Progress>().await? {
                Some(Progress::Step { step, done, total }) => shown.step(&step, done, total),
                Some(Progress::Reply(reply)) => return Ok(*reply),
                Some(Progress::Problem(problem)) => return Err(*problem),
                Some(Progress::Done(_) | Progress::Verified(_) | Progress::Aligned(_)) => {}
                None => {
                    return Err(Problem::new(codes::UNREACHABLE, "the agent went away before it answered")
                        .fix("stoker status shows whether the change was made"));
                }
            }
        }
    };
    let reply = follow::interruptible(asked, || {
        let said = "stopped waiting for the agent's answer: a build that was being made is given up, a change that was made goes on";
        Problem::new(codes::INTERRUPTED, said).fix("stoker status shows what was made of it")
    })
    .await?;
    for warning in &reply.warnings {
        Out::say(&format!("warning: {}", clean(warning)));
    }
    // What a preview says as done is not done.
    if !reply.says.is_empty() && reply.preview.is_none() {
        context.out.talk(&clean(&reply.says));
    }
    Ok(reply)
}

fn show_preview(out: Out, preview: &Preview, flags: &Writing) -> Result<(), End> {
    out.show(preview, render)?;
    if flags.exit_code && preview.changes { Err(End::Exit(10)) } else { Ok(()) }
}

/// A preview for people.
pub(crate) fn render(preview: &Preview) -> String {
    if !preview.changes && preview.problems.is_empty() {
        return "nothing would change\n".to_owned();
    }
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&clean(&line));
        text.push('\n');
    };
    for unit in &preview.units {
        render_unit(unit, &mut line);
    }
    line(format!(
        "{}, {} to write",
        count(
            preview.restarts,
            "service stopped or restarted while running",
            "services stopped or restarted while running"
        ),
        bytes(preview.bytes)
    ));
    for (head, lines) in
        [("busy", &preview.touched), ("cannot go back", &preview.one_way), ("problem", &preview.problems)]
    {
        for each in lines {
            line(format!("{head}: {each}"));
        }
    }
    if !preview.token.is_empty() {
        line(format!("to apply exactly this: --if {}", preview.token));
    }
    text
}

fn render_unit(unit: &UnitPreview, line: &mut impl FnMut(String)) {
    let sign = match unit.effect.as_str() {
        "add" => "+",
        "remove" => "-",
        "change" => "~",
        _ => " ",
    };
    let status = if unit.status.is_empty() { String::new() } else { format!("  ({})", unit.status) };
    line(format!("{sign} {}{status}", unit.unit));
    for (head, names) in [
        ("start", &unit.start),
        ("starts a generation beside:", &unit.beside),
        ("goes back to a generation that runs:", &unit.thaw),
        ("restart", &unit.restart),
        ("stop", &unit.stop),
        ("run", &unit.tasks),
    ] {
        if !names.is_empty() {
            line(format!("    {head} {}", names.join(", ")));
        }
    }
    // At the root is the whole plan, of a unit that comes or goes.
    for difference in unit.differences.iter().filter(|difference| !difference.at.is_empty()) {
        let at = &difference.at;
        match (&difference.before, &difference.after) {
            (Value::Null, after) => line(format!("    + {at} = {}", brief(after))),
            (before, Value::Null) => line(format!("    - {at} = {}", brief(before))),
            (Value::String(before), Value::String(after))
                if [before, after].iter().any(|t| t.contains('\n')) =>
            {
                line(format!("    ~ {at}:"));
                for each in diff::unified(before, after) {
                    line(format!("        {each}"));
                }
            }
            (before, after) => {
                let (before, after) = diff::parted(&words(before), &words(after));
                line(format!("    ~ {at}: {before} -> {after}"));
            }
        }
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn brief(value: &Value) -> String {
    super::table::cut(&words(value), 60)
}

/// `1 thing`, `2 things`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::api::types::Difference;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Writing,
    }

    fn parse(line: &[&str]) -> Result<Writing, clap::Error> {
        Line::try_parse_from([&["x"], line].concat()).map(|line| line.flags)
    }

    #[test]
    fn flags_say_how_moves_may_go() {
        assert_eq!(parse(&["--when-idle"]).unwrap().when_idle, Some(None));
        assert_eq!(parse(&["--when-idle=10m"]).unwrap().when_idle, Some(Some(Duration::from_mins(10))));
        assert!(parse(&["--when-idle=soon"]).is_err());
        assert!(parse(&["--now", "--when-idle"]).is_err());
        assert!(parse(&["--wait", "--no-wait"]).is_err());
        assert!(parse(&["--exit-code"]).is_err());
        assert!(parse(&["--preview", "--if", "x"]).is_err());
        assert!(parse(&["--wait"]).unwrap().waits());
        assert!(!parse(&["--no-wait"]).unwrap().waits());
    }

    #[test]
    fn a_preview_has_its_price_and_its_token() {
        let preview = Preview {
            token: "abc".into(),
            changes: true,
            units: vec![UnitPreview {
                unit: "web/0".into(),
                effect: "change".into(),
                beside: vec!["worker".into()],
                restart: vec!["server".into()],
                tasks: vec!["check".into()],
                differences: vec![
                    Difference { at: "/ports/a".into(), before: Value::Null, after: json!(80) },
                    Difference { at: "/files/x/text".into(), before: json!("a\x1b[m"), after: json!("b") },
                ],
                status: "waiting: server".into(),
                ..UnitPreview::default()
            }],
            restarts: 1,
            bytes: 2048,
            touched: vec!["web/0/server: sessions: s1".into()],
            one_way: vec!["layout 1 → 2".into()],
            problems: vec![],
        };
        assert_eq!(
            render(&preview),
            "~ web/0  (waiting: server)\n    starts a generation beside: worker\n    restart server\n    run check\n    + /ports/a = 80\n    \
             ~ /files/x/text: a\\u{1b}[m -> b\n1 service stopped or restarted while running, 2.00 KiB to write\n\
             busy: web/0/server: sessions: s1\ncannot go back: layout 1 → 2\nto apply exactly this: --if abc\n"
        );
        assert_eq!(render(&Preview::default()), "nothing would change\n");
    }
}
