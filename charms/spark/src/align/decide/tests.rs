//! The policies as a table, and what holds for all of them.

use super::*;
use proptest::prelude::*;

const NONE: Client =
    Client { version: String::new(), build: String::new(), companions: BTreeMap::new(), jars: Vec::new() };

fn client(version: &str) -> Client {
    Client { version: version.to_owned(), build: format!("b3:{version}"), ..NONE }
}

struct Case {
    policy: Policy,
    shape: Shape,
    shipped: &'static str,
    current: Option<&'static str>,
    server: &'static str,
    java: bool,
    refused: bool,
    asked: bool,
}

const PLAIN: Case = Case {
    policy: Policy::Auto,
    shape: Shape::Shaded,
    shipped: "3.3.4",
    current: None,
    server: "3.4.1",
    java: true,
    refused: false,
    asked: false,
};

fn answer(case: &Case) -> Decision {
    let (server, current) = (client(case.server), case.current.map(client));
    decide(&Question {
        policy: case.policy,
        shape: case.shape,
        shipped: case.shipped,
        current: current.as_ref(),
        server: &server,
        java: &|_| case.java,
        refused: case.refused.then_some(Refused {
            build: &server.build,
            why: "IllegalAccessError",
            run: true,
        }),
        asked: case.asked,
    })
}

#[test]
fn policies() {
    use Policy::{Auto, Exact, Shipped};
    let swap = |version: &str| Keep::Swap(client(version));
    for (name, case, keep, level) in [
        ("another minor: swap", PLAIN, swap("3.4.1"), "exact"),
        ("same minor: keep", Case { shipped: "3.4.3", ..PLAIN }, Keep::Shipped, "same-minor"),
        (
            "already swapped, same minor: keep",
            Case { current: Some("3.4.1"), server: "3.4.3", ..PLAIN },
            swap("3.4.1"),
            "same-minor",
        ),
        (
            "already swapped, new minor: swap",
            Case { current: Some("3.4.1"), server: "3.5.0", ..PLAIN },
            swap("3.5.0"),
            "exact",
        ),
        (
            "back to the shipped minor",
            Case { current: Some("3.4.1"), server: "3.3.4", ..PLAIN },
            Keep::Shipped,
            "exact",
        ),
        ("a newer client stays", Case { shipped: "3.5.0", ..PLAIN }, Keep::Shipped, "newer-client"),
        ("unless it is asked for", Case { shipped: "3.5.0", asked: true, ..PLAIN }, swap("3.4.1"), "exact"),
        ("or said", Case { shipped: "3.5.0", policy: Exact, ..PLAIN }, swap("3.4.1"), "exact"),
        (
            "same minor, but asked for",
            Case { shipped: "3.4.3", asked: true, ..PLAIN },
            swap("3.4.1"),
            "exact",
        ),
        ("nothing to ask for", Case { shipped: "3.4.1", asked: true, ..PLAIN }, Keep::Shipped, "exact"),
        ("exact within a minor", Case { policy: Exact, shipped: "3.4.3", ..PLAIN }, swap("3.4.1"), "exact"),
        ("exact as shipped", Case { policy: Exact, shipped: "3.4.1", ..PLAIN }, Keep::Shipped, "exact"),
        (
            "exact tries a refused one again",
            Case { policy: Exact, refused: true, ..PLAIN },
            swap("3.4.1"),
            "exact",
        ),
        ("shipped", Case { policy: Shipped, current: Some("3.4.1"), ..PLAIN }, Keep::Shipped, "older-client"),
        ("no Java for it", Case { java: false, ..PLAIN }, Keep::Shipped, "older-client"),
        (
            "unshaded",
            Case { shape: Shape::Unshaded, shipped: "3.2.0", ..PLAIN },
            Keep::Shipped,
            "older-client",
        ),
        ("nothing to take", Case { server: "2.7.3", ..PLAIN }, Keep::Shipped, "cross-major"),
        ("unreadable", Case { server: "trunk", ..PLAIN }, Keep::Shipped, "unknown"),
        ("refused", Case { refused: true, ..PLAIN }, Keep::Shipped, "older-client"),
        (
            "refused, the current one stays",
            Case { refused: true, current: Some("3.4.1"), server: "3.5.0", ..PLAIN },
            swap("3.4.1"),
            "older-client",
        ),
        (
            "no client of its own",
            Case { shape: Shape::Provided, shipped: "", policy: Auto, ..PLAIN },
            Keep::Provide(client("3.4.1")),
            "exact",
        ),
    ] {
        let said = answer(&case);
        assert_eq!((said.keep.clone(), said.level.word()), (keep, level), "{name}: {}", said.says);
    }
}

#[test]
fn what_is_not_aligned_says_why_and_how_to_mend_it() {
    let refused = answer(&Case { refused: true, ..PLAIN });
    assert!(
        refused.says.contains("IllegalAccessError") && refused.fix.contains("hadoop-alignment"),
        "{refused:?}"
    );
    let unshaded = answer(&Case { shape: Shape::Unshaded, shipped: "3.2.0", ..PLAIN });
    assert!(unshaded.fix.contains("built with Hadoop 3.4.1"), "{unshaded:?}");
}

proptest! {
    #[test]
    fn auto_never_ends_worse_than_shipped(
        shipped in "[23]\\.[0-9]\\.[0-9]", server in "[23]\\.[0-9]\\.[0-9]", current in proptest::option::of("3\\.[0-9]\\.[0-9]"),
        java: bool, refused: bool,
    ) {
        let (to, current) = (client(&server), current.map(|c| client(&c)));
        let said = decide(&Question {
            policy: Policy::Auto, shape: Shape::Shaded, shipped: &shipped, current: current.as_ref(), server: &to,
            java: &|_| java, refused: refused.then_some(Refused { build: &to.build, why: "x", run: false }), asked: false,
        });
        prop_assert!(said.level <= level(&shipped, &server, Axes::CLEAR));
        // What was taken stays while it is good enough: asking again changes nothing.
        if let Keep::Swap(taken) = &said.keep {
            let again = decide(&Question {
                policy: Policy::Auto, shape: Shape::Shaded, shipped: &shipped, current: Some(taken), server: &to,
                java: &|_| java, refused: None, asked: false,
            });
            if said.level.in_line() {
                prop_assert_eq!(&again.keep, &said.keep);
            }
        }
    }
}
