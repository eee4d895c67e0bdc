//! Two texts beside each other, for people: of files the lines that differ, of words where they part. Owns only how
//! that is shown.

/// Lines around a difference.
const AROUND: usize = 2;
/// Lines shown of one difference; all of it is in the preview's JSON.
const MOST: usize = 40;
/// Middles of more lines than this are shown as a whole instead of being matched line by line.
const MATCHED: usize = 600;
/// Letters of a text that has one line.
const LETTERS: usize = 60;

/// One line of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The lines that differ, as a unified diff writes them, with some of those around them.
pub(super) fn unified(before: &str, after: &str) -> Vec<String> {
    let all = compare(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let differs: Vec<usize> = (0..all.len()).filter(|at| !matches!(all[*at], Line::Both(_))).collect();
    let near = |at: usize| {
        let next = differs.partition_point(|differs| *differs + AROUND < at);
        differs.get(next).is_some_and(|differs| *differs <= at + AROUND)
    };
    let mut shown = Vec::new();
    let mut last = None;
    for (at, line) in all.iter().enumerate().filter(|(at, _)| near(*at)) {
        if at > 0 && last != Some(at - 1) {
            shown.push("…".to_owned());
        }
        last = Some(at);
        shown.push(match line {
            Line::Both(text) => format!("  {text}"),
            Line::Gone(text) => format!("- {text}"),
            Line::New(text) => format!("+ {text}"),
        });
    }
    if shown.len() > MOST {
        let more = shown.len() - MOST;
        shown.truncate(MOST);
        shown.push(format!("… {more} more lines"));
    }
    shown
}

/// The longest common run of lines, by the usual table; what both texts begin and end with is left out of it.
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let tail =
        before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    let mut lines: Vec<Line<'a>> = before[..head].iter().map(|line| Line::Both(line)).collect();
    if old.len().max(new.len()) > MATCHED {
        lines.extend(old.iter().map(|line| Line::Gone(line)));
        lines.extend(new.iter().map(|line| Line::New(line)));
    } else {
        let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                common[i][j] = if old[i] == new[j] {
                    common[i + 1][j + 1] + 1
                } else {
                    common[i + 1][j].max(common[i][j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            if i < old.len() && j < new.len() && old[i] == new[j] {
                lines.push(Line::Both(old[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
                lines.push(Line::Gone(old[i]));
                i += 1;
            } else {
                lines.push(Line::New(new[j]));
                j += 1;
            }
        }
    }
    lines.extend(before[before.len() - tail..].iter().map(|line| Line::Both(line)));
    lines
}

/// Two texts cut to where they part, so that they never look alike.
pub(super) fn parted(before: &str, after: &str) -> (String, String) {
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let skip = if same + LETTERS / 3 > LETTERS { same - LETTERS / 3 } else { 0 };
    let cut = |text: &str| {
        let rest: String = text.chars().skip(skip).collect();
        let lead = if skip > 0 { "…" } else { "" };
        format!("{lead}{}", super::table::cut(&rest, LETTERS))
    };
    (cut(before), cut(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_differs_and_what_is_around_it() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let after = "a\nb\nc\nD\ne\nf\ng\nh\ni\nj\n";
        assert_eq!(
            unified(before, after),
            ["…", "  b", "  c", "- d", "+ D", "  e", "  f", "…", "  h", "  i", "+ j"]
        );
        assert_eq!(unified("x\n", "x\n"), [""; 0]);
        assert_eq!(unified("", "x\ny\n"), ["+ x", "+ y"]);
        let long = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let shown = unified(&long, "");
        assert_eq!((shown.len(), shown[MOST].as_str()), (MOST + 1, "… 960 more lines"));
    }

    #[test]
    fn texts_that_begin_alike_are_cut_where_they_part() {
        let long = "x".repeat(200);
        let (a, b) = parted(&format!("{long}one"), &format!("{long}two"));
        assert!(a != b && a.starts_with('…') && a.ends_with("one") && b.ends_with("two"), "{a} {b}");
        assert_eq!(parted("a", "b"), ("a".into(), "b".into()));
    }
}
