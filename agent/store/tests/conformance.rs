//! What every back end does alike. A new back end is one more `case` of each test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod subject;
mod conformance {
    mod leases;
    mod limits;
    mod transactions;
    mod watches;
}
