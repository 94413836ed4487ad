//! What an operator lets builds do and use.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Level, Limits, Network, Rules};

/// What an operator lets builds do and use.
#[derive(Debug, Clone)]
pub struct Policy {
    pub isolation: Isolation,
    pub limits: Limits,
    pub network: Network,
    /// For [`Network::Proxy`].
    pub rules: Arc<Rules>,
    /// Weaker isolation is refused.
    pub require: Option<Level>,
    /// Where control groups are; an empty directory stands for a machine that has none.
    pub cgroup_root: PathBuf,
}

/// Which level commands run at; as the setting `sandbox` names it, `auto` or `none`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// The strongest that the machine gives.
    #[default]
    Strongest,
    /// Level 3, as where namespaces are refused.
    Landlock,
    /// Level 0.
    Off,
}

impl FromStr for Isolation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Strongest),
            "none" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            limits: Limits::default(),
            network: Network::Proxy,
            rules: Arc::default(),
            require: None,
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
        }
    }
}
