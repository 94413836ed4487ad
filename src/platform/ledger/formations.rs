//! How many dynos of each process type an app has.

use std::collections::BTreeMap;

use super::error::LedgerError;
use super::{Ledger, apps, sql};

impl Ledger {
    /// The quantities that were chosen, by type; one web where none was.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn formation(&self, app: &str) -> Result<BTreeMap<String, u32>, LedgerError> {
        self.read(|c| {
            let app = apps::find(c, app)?;
            let mut quantities = BTreeMap::from([("web".to_owned(), 1)]);
            quantities.extend(sql::formation(c, &app.id)?);
            Ok(quantities)
        })
    }

    /// Chooses the quantities of some types.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn scale(&self, app: &str, quantities: &BTreeMap<String, u32>) -> Result<(), LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            for (kind, quantity) in quantities {
                sql::set_quantity(c, &app.id, kind, *quantity)?;
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
            let pairs = pairs
                .iter()
                .map(|(kind, count)| ((*kind).to_owned(), *count));
            pairs.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(ledger.formation(&demo.id).unwrap(), of(&[("web", 1)]));
        ledger.scale(&demo.id, &of(&[("worker", 2)])).unwrap();
        ledger.scale("demo", &of(&[("web", 0)])).unwrap();
        let expected = of(&[("web", 0), ("worker", 2)]);
        assert_eq!(ledger.formation("demo").unwrap(), expected);
        ledger.scale("demo", &of(&[("worker", 1)])).unwrap();
        assert_eq!(ledger.formation("demo").unwrap()["worker"], 1);
        assert!(ledger.formation("other").is_err());
        ledger.destroy_app(&demo.id).unwrap();
        let again = app(&ledger, "demo");
        assert_eq!(ledger.formation(&again.id).unwrap(), of(&[("web", 1)]));
    }
}
