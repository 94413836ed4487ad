//! How many dynos of each process type an app has, and how large they are.

use std::collections::BTreeMap;

use super::error::LedgerError;
use super::{Ledger, apps, sql};

/// What was chosen for a process type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    pub quantity: u32,
    /// A size's name, where one was chosen.
    pub size: Option<String>,
}

impl Ledger {
    /// What was chosen, by type; one web where nothing was.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn formation(&self, app: &str) -> Result<BTreeMap<String, Chosen>, LedgerError> {
        self.read(|c| {
            let app = apps::find(c, app)?;
            let one = Chosen {
                quantity: 1,
                size: None,
            };
            let mut chosen = BTreeMap::from([("web".to_owned(), one)]);
            chosen.extend(sql::formation(c, &app.id)?);
            Ok(chosen)
        })
    }

    /// Chooses for some types.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn scale(&self, app: &str, chosen: &BTreeMap<String, Chosen>) -> Result<(), LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            for (kind, chosen) in chosen {
                sql::set_formation(c, &app.id, kind, chosen)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger};
    use super::*;

    #[test]
    fn one_web_until_somebody_chooses() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let of = |pairs: &[(&str, u32)]| {
            let pairs = pairs.iter().map(|(kind, quantity)| {
                let chosen = Chosen {
                    quantity: *quantity,
                    size: None,
                };
                ((*kind).to_owned(), chosen)
            });
            pairs.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(ledger.formation(&demo.id).unwrap(), of(&[("web", 1)]));
        ledger.scale(&demo.id, &of(&[("worker", 2)])).unwrap();
        ledger.scale("demo", &of(&[("web", 0)])).unwrap();
        let expected = of(&[("web", 0), ("worker", 2)]);
        assert_eq!(ledger.formation("demo").unwrap(), expected);
        ledger.scale("demo", &of(&[("worker", 1)])).unwrap();
        assert_eq!(ledger.formation("demo").unwrap()["worker"].quantity, 1);
        let mut large = of(&[("worker", 3)]);
        large.get_mut("worker").unwrap().size = Some("large".into());
        ledger.scale("demo", &large).unwrap();
        assert_eq!(ledger.formation("demo").unwrap()["worker"], large["worker"]);
        assert!(ledger.formation("other").is_err());
        ledger.destroy_app(&demo.id).unwrap();
        let again = app(&ledger, "demo");
        assert_eq!(ledger.formation(&again.id).unwrap(), of(&[("web", 1)]));
    }
}
