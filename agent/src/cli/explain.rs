//! `stoker explain`.

use serde_json::json;

use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::problem::{Problem, codes};

/// Explain a stable code; all of them without one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker explain ST0005
  stoker explain --format json")]
pub(crate) struct Arguments {
    /// The code
    code: Option<String>,
}

#[allow(clippy::unused_async, reason = "as all verbs")]
pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Some(asked) = arguments.code else {
        let all: Vec<_> = codes::ALL.iter().map(document).collect();
        return context.out.show(&all, |_| list());
    };
    let Some(code) = codes::find(&asked) else {
        return Err(Problem::new(
            codes::NOT_FOUND,
            format!("cannot explain `{asked}`: there is no such code"),
        )
        .fix("stoker explain")
        .into());
    };
    context.out.show(&document(code), |_| {
        let text = wrapped(code.says, terminal_width().min(100));
        format!(
            "{} {}\n\n{text}\n\nExit status {}, HTTP status {}.\n",
            code.id,
            title(code),
            code.exit,
            code.http
        )
    })
}

fn document(code: &codes::Code) -> serde_json::Value {
    json!({ "code": code.id, "title": title(code), "exit": code.exit, "status": code.http, "says": code.says })
}

fn title(code: &codes::Code) -> String {
    code.name.to_lowercase().replace('_', " ")
}

fn list() -> String {
    let mut table = Table::new(&["Code", "Exit", "Means"]);
    for code in codes::ALL {
        table.row([code.id.to_owned(), code.exit.to_string(), title(code)]);
    }
    table.render(terminal_width())
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_fit_their_width_and_all_are_listed() {
        for code in codes::ALL {
            assert!(wrapped(code.says, 80).lines().all(|line| line.chars().count() <= 80), "{}", code.id);
            assert!(list().contains(code.id));
        }
        assert_eq!(wrapped("a bb ccc", 4), "a bb\nccc");
    }
}
