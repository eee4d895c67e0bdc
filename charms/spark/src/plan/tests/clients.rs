//! Hadoop clients that are not as a release has them: half exchanged, or of an HDFS that is nobody's here.

use super::*;

#[test]
fn a_torn_client_is_named_and_nothing_moves() {
    let mut seen = related("3.3.4");
    let torn = "a.jar and b.jar are of different Hadoops: x.Y uses z.Z, which is not there";
    seen["resources"]["spark"]["facts"]["details"]["client-torn"] = json!(torn);
    let plan = planned(&seen);
    assert_eq!((plan.status.state, plan.hold.is_some()), (State::Blocked, true));
    assert!(plan.status.message.contains(torn), "{:?}", plan.status);
    assert!(plan.status.fix.contains("attach-resource spark spark=recipe:3.5.9"), "{:?}", plan.status);
    let verdict = &plan.verdicts[0];
    assert_eq!((verdict.level.as_str(), verdict.fix.as_str()), ("shape-blocked", plan.status.fix.as_str()));
    assert!(verdict.works.values().all(|work| !work.ok && work.by == "linked" && work.why == torn));

    // Both jars of another client heal it; where there is no HDFS nothing asks for one.
    let mut other = related("3.4.1");
    other["resources"] = seen["resources"].clone();
    let healed = planned(&other);
    assert_eq!((healed.verdicts[0].level.as_str(), healed.trees["spark"].drop.len()), ("exact", 2));
    let mut lone = alone();
    lone["resources"] = seen["resources"].clone();
    assert_eq!(planned(&lone).status.state, State::Active);
}
