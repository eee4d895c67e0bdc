//! Layouts of data and of builds, side by side. Owns what counts as the same, as up and as down.

use stoker_charm::observation::Facts;

use crate::plan::cluster::layout_of;

/// A NameNode's and a DataNode's layout; versions count downwards, the lower is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layouts {
    pub(crate) namenode: Option<i64>,
    pub(crate) datanode: Option<i64>,
}

/// How a build differs from the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Whose layout.
    pub(crate) who: &'static str,
    /// The data's.
    pub(crate) had: i64,
    /// The build's; none where it cannot be read from it.
    pub(crate) has: Option<i64>,
    /// The build's layouts are newer, or one is newer and the other equal.
    pub(crate) up: bool,
}

impl Layouts {
    /// Those of a build.
    pub(crate) fn of(facts: &Facts) -> Self {
        Self { namenode: layout_of(facts, "layout-namenode"), datanode: layout_of(facts, "layout-datanode") }
    }

    /// Where a build's layouts differ from these of data; what no data are there for fits.
    pub(crate) fn against(self, facts: &Facts) -> Option<Difference> {
        let build = Self::of(facts);
        let pairs =
            [("NameNode", self.namenode, build.namenode), ("DataNode", self.datanode, build.datanode)];
        let up = pairs.iter().all(|(_, had, has)| match (had, has) {
            (Some(had), Some(has)) => has <= had,
            (Some(_), None) => false,
            (None, _) => true,
        });
        pairs.into_iter().find_map(|(who, had, has)| {
            let had = had?;
            (has != Some(had)).then_some(Difference { who, had, has, up })
        })
    }
}
