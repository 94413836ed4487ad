//! Named sizes of dynos: how much of the machine one dyno gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sandbox::Sandbox;

/// The size of dynos for which none was chosen. Source: Heroku's name for its smallest of production.
pub const DEFAULT_SIZE: &str = "standard-1x";

/// What one dyno gets.
#[derive(Debug, Clone)]
pub struct Size {
    /// In lower case.
    pub name: String,
    /// Of one dyno; twice as much ends it.
    pub memory_bytes: u64,
    /// With the size's limits and the dynos' network.
    pub sandbox: Sandbox,
}

/// All sizes, by name; the default one is among them.
#[derive(Debug, Clone)]
pub struct Sizes {
    default: Arc<Size>,
    named: BTreeMap<String, Arc<Size>>,
}

impl Sizes {
    /// Those of a list, and the default.
    pub fn new(default: Size, others: impl IntoIterator<Item = Size>) -> Self {
        let default = Arc::new(default);
        let others = others.into_iter().map(Arc::new);
        let all = others.chain([default.clone()]);
        Self {
            default,
            named: all.map(|size| (size.name.clone(), size)).collect(),
        }
    }

    /// The size of this name, in whatever case.
    pub fn find(&self, name: &str) -> Option<Arc<Size>> {
        self.named.get(&name.to_lowercase()).cloned()
    }

    /// The size that was chosen; the default where none was, or where the operator has taken it away
    /// since.
    pub fn chosen(&self, name: Option<&str>) -> Arc<Size> {
        let found = name.and_then(|name| self.find(name));
        found.unwrap_or_else(|| self.default.clone())
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.named.keys().cloned().collect()
    }
}
